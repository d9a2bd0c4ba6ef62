#!/bin/sh
# Installs what the core is built with, by the package manager of the image that a wheel is built in.
set -eu

if command -v dnf >/dev/null; then # manylinux: AlmaLinux
  dnf install -y epel-release dnf-plugins-core
  dnf config-manager --set-enabled crb
  dnf install -y boost-devel libnghttp2-devel openssl-devel protozero-devel simdjson-devel zlib-devel
elif command -v apk >/dev/null; then # musllinux: Alpine
  apk add --no-cache boost-dev nghttp2-dev openssl-dev protozero-dev simdjson-dev zlib-dev
elif command -v brew >/dev/null; then # macOS; zlib comes with the system
  brew install boost libnghttp2 openssl@3 protozero simdjson
else
  echo "wheels are built with dnf, apk or brew, and there is none of them" >&2
  exit 1
fi
