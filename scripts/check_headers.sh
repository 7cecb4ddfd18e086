#!/bin/sh
# Does every public header compile alone, as C11 and as C++?
#     scripts/check_headers.sh INCLUDE_DIR [DIR_OF_HEADERS_IT_NEEDS]
set -eu
cxx=yes
command -v g++ >/dev/null 2>&1 || { cxx=no; echo "g++ is not installed: C only"; }
status=0
for header in "$1"/cereus/*.h; do
    name=cereus/$(basename "$header")
    echo "#include <$name>" | gcc -std=c11 -fsyntax-only -Wall -Wextra -Werror -I"$1" -I"${2:-$1}" -x c - || status=1
    [ $cxx = no ] && continue
    echo "#include <$name>" | g++ -std=c++11 -fsyntax-only -Wall -Wextra -Werror -I"$1" -I"${2:-$1}" -x c++ - || status=1
done
exit $status
