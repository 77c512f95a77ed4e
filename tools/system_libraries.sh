#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The simulator's ray caster (Open3D) links system libraries that no wheel brings. Installs those that are missing where the
# user is root on a Debian or Ubuntu machine; otherwise says which are missing and how to get them.
set -u
declare -A package=([libusb-1.0.so.0]=libusb-1.0-0 [libGL.so.1]=libgl1 [libX11.so.6]=libx11-6 [libgomp.so.1]=libgomp1)
known=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null)
missing=()
for library in "${!package[@]}"; do
  grep -q "$library" <<<"$known" || missing+=("${package[$library]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "Installing the system libraries that Open3D needs: ${missing[*]}"
  if apt-get -qq update >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y "${missing[@]}" >/dev/null; then
    exit 0
  fi
fi
echo "The simulator needs system libraries that are not installed: ${missing[*]}." >&2
echo "Install them first, on Debian or Ubuntu with: sudo apt-get install ${missing[*]}" >&2
exit 1
