#!/bin/sh
# Entry point with the contract of the official "litellm" image: every argument goes to the proxy.
set -eu
exec litellm "$@"
