# Our own packages as wheels, one folder for each image; nothing is downloaded.
set -eu
export PATH=/opt/tools/bin:$PATH
build() {
    image=$1
    shift
    python -m pip wheel --disable-pip-version-check --no-index --no-deps --no-build-isolation \
        --wheel-dir "/wheels/$image" "$@"
}
build api ./libs/contracts ./libs/runtime ./services/api
build client ./libs/contracts ./clients/python
build generator ./libs/contracts ./libs/runtime ./services/generator
build retrieval ./libs/contracts ./libs/runtime ./libs/encoders ./services/retrieval
build trainer ./libs/contracts ./libs/runtime ./libs/encoders ./services/trainer
