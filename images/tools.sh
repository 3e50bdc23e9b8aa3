# uv and the build backend of our packages, by hash, in a virtual environment of their own.
. images/sources.sh
python -m venv /opt/tools
/opt/tools/bin/python -m pip install --disable-pip-version-check --require-hashes \
    --requirement images/requirements.lock
cp images/*.sh /opt/tools/
