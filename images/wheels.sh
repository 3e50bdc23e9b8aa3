# Our own packages that the image of one service holds, as wheels in /packages, and its lock; nothing is downloaded.
set -eu
export PATH=/opt/tools/bin:$PATH
service=$1
folder=services/$service
case $service in
api) libs="contracts planning runtime store verdict" ;;
client) libs="" folder=clients/python ;;
conductor) libs="contracts planning runtime store" ;;
generator) libs="contracts runtime" ;;
judge) libs="contracts runtime verdict" ;;
retrieval | trainer) libs="contracts encoders runtime" ;;
*)
    echo "SERVICE is '$service'; it has to be api, client, conductor, generator, judge, retrieval or trainer" >&2
    exit 2
    ;;
esac
mkdir /packages
cp "$folder/requirements.lock" /packages/
for library in $libs; do set -- "$@" "./libs/$library"; done
shift
python -m pip wheel --disable-pip-version-check --no-index --no-deps --no-build-isolation --wheel-dir /packages \
    "$@" "./$folder"
