# What one image adds: its lock by hash, less what the layer below holds (install-torch.sh), then our own wheels.
. /opt/tools/sources.sh
uv() { UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never /opt/tools/bin/uv "$@"; }
python=/opt/touchstone/bin/python

own=/packages/requirements.lock
below=/opt/touchstone/worker.lock
if [ -e "$below" ]; then
    own=$(mktemp)
    awk '/^[a-z0-9]/ { split($0, part, "=="); name = part[1] }
         NR == FNR { shared[name]; next }
         /^[a-z0-9]/ { keep = !(name in shared) }
         keep' "$below" /packages/requirements.lock > "$own"
fi
if [ -s "$own" ]; then
    uv pip install --python "$python" --require-hashes --no-deps --requirement "$own"
fi
uv pip install --python "$python" --no-index --no-deps /packages/*.whl
uv pip check --python "$python"

# Of plotly the dashboard needs one file: the JavaScript.
plotly=$(echo /opt/touchstone/lib/python3*/site-packages/plotly)
if [ -d "$plotly" ]; then
    find "$plotly" -mindepth 1 -maxdepth 1 ! -name package_data -exec rm -r {} +
fi
