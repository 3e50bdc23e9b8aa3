# /locks/worker.lock. With TORCH_BACKEND=cuda every wheel by hash. With cpu PyTorch's own index (or TORCH_INDEX) has
# wheels without CUDA: other bytes than the locked ones, so torch and torchvision come by version, the rest by hash.
. /opt/tools/sources.sh
uv() { UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never /opt/tools/bin/uv "$@"; }
python=/opt/touchstone/bin/python
# Tells install.sh what is there.
cp /locks/worker.lock /opt/touchstone/worker.lock

if [ "$TORCH_BACKEND" = cuda ]; then
    uv pip install --python "$python" --require-hashes --no-deps --requirement /locks/worker.lock
    exit
fi
family='^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)=='
awk -v family="$family" '/^[a-z0-9]/ { keep = $0 !~ family } keep' /locks/worker.lock > /tmp/rest.lock
awk '/^(torch|torchvision)==/ { print $1 }' /locks/worker.lock > /tmp/torch.txt
uv pip install --python "$python" --require-hashes --no-deps --requirement /tmp/rest.lock
if [ -n "$TORCH_INDEX" ]; then
    uv pip install --python "$python" --no-deps --default-index "$TORCH_INDEX" --requirement /tmp/torch.txt
else
    uv pip install --python "$python" --no-deps --torch-backend "$TORCH_BACKEND" --requirement /tmp/torch.txt
fi
rm /tmp/rest.lock /tmp/torch.txt
