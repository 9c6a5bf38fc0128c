"""The scripts that complete the command line in a shell. Each runs the command with the words up to the cursor."""

from __future__ import annotations

SCRIPTS = {
    "bash": """\
_cosxfer() {
    local IFS=$'\\n'
    COMPREPLY=($(_COSXFER_COMPLETE=1 "$1" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null </dev/null))
    if [[ ${COMPREPLY[0]} == //*/ ]]; then compopt -o nospace 2>/dev/null; fi
}
complete -o default -F _cosxfer cosxfer
""",
    "zsh": """\
#compdef cosxfer
_cosxfer() {
    local -a found
    found=("${(@f)$(_COSXFER_COMPLETE=1 "${words[1]}" "${(@)words[2,CURRENT]}" 2>/dev/null </dev/null)}")
    found=("${(@)found:#}")
    local -a folders=("${(@M)found:#cos://*/}") others=("${(@)found:#cos://*/}")
    if (( ${#folders} )); then compadd -S '' -a folders; fi
    if (( ${#others} )); then compadd -a others; fi
    if (( ! ${#found} )); then _files; fi
}
compdef _cosxfer cosxfer
""",
    "fish": """\
function __cosxfer
    set -l words (commandline -opc)
    set -l found (_COSXFER_COMPLETE=1 $words[1] $words[2..-1] (commandline -ct) 2>/dev/null </dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c cosxfer -f -a '(__cosxfer)'
""",
}
