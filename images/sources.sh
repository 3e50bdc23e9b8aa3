# Sourced by the others: where packages come from, and whom to trust. Both are build secrets that may be missing.
set -eu
if [ -s /run/secrets/ca ]; then
    export SSL_CERT_FILE=/run/secrets/ca PIP_CERT=/run/secrets/ca
fi
if [ -s /run/secrets/mirror ]; then
    PIP_INDEX_URL=$(tr -d '[:space:]' < /run/secrets/mirror)
    export PIP_INDEX_URL UV_DEFAULT_INDEX="$PIP_INDEX_URL"
fi
