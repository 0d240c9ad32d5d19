#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A middleware as people write it in a shell: from hex, a look at it, and to hex again. Command
# substitution takes line ends off and echo puts one on, so payloads do not come back as they were.
while read -r line; do
	decoded=$(echo "$line" | xxd -r -p)
	case $decoded in
	1*) echo "$decoded" | xxd -p | tr -d '\n' && echo ;;
	esac
done
