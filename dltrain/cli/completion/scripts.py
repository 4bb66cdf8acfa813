"""The scripts with which shells ask for completion, and where each shell looks for them."""

from __future__ import annotations

import os
from pathlib import Path

from dltrain.errors import UsageError

BASH = """\
# Completion of dltrain for bash: source this file, or put it into ~/.local/share/bash-completion/completions/dltrain.
_dltrain() {
  local IFS=$'\\n'
  COMPREPLY=($(_DLTRAIN_COMPLETE=bash "$1" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
  [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=./] ]] && compopt -o nospace
  return 0
}
complete -o default -o nosort -F _dltrain dltrain
"""

ZSH = """\
#compdef dltrain
# Completion of dltrain for zsh: put this file into a folder of $fpath, as _dltrain, before compinit runs.
_dltrain() {
  local line value
  local -a open closed open_shown closed_shown
  for line in "${(@f)$(_DLTRAIN_COMPLETE=zsh "${words[1]}" "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
    [[ -z $line ]] && continue
    value=${line%%$'\\t'*}
    if [[ $value == :files ]]; then
      _files
      return
    fi
    [[ ${line#*$'\\t'} == '' ]] && line=$value || line="$value -- ${line#*$'\\t'}"
    if [[ $value == *[=./] ]]; then
      open+=("$value"); open_shown+=("$line")
    else
      closed+=("$value"); closed_shown+=("$line")
    fi
  done
  (( $#open )) && compadd -Q -l -d open_shown -S '' -- "${open[@]}"
  (( $#closed )) && compadd -Q -l -d closed_shown -- "${closed[@]}"
  return 0
}
if [[ ${funcstack[1]} == _dltrain ]]; then
  _dltrain "$@"
else
  compdef _dltrain dltrain
fi
"""

FISH = """\
# Completion of dltrain for fish: put this file into ~/.config/fish/completions/dltrain.fish.
function __dltrain_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (env _DLTRAIN_COMPLETE=fish $words[1] $words[2..-1] 2>/dev/null)
        if string match -q ':files*' -- $line
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c dltrain -f -a '(__dltrain_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
ZSH_LINES = "fpath=(~/.zfunc $fpath)\nautoload -Uz compinit && compinit\n"
"""What ~/.zshrc needs so that zsh finds the script."""


def detect_shell() -> str:
    """The shell that started this process, or else $SHELL. Raises UsageError for one without a script."""
    try:
        name = Path(f"/proc/{os.getppid()}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        name = ""
    if name not in SCRIPTS:
        name = Path(os.environ.get("SHELL", "")).name
    if name not in SCRIPTS:
        raise UsageError(
            f"no completion for the shell '{name}'\nallowed: {', '.join(SCRIPTS)}",
            advice="run this in one of them, or name it: dltrain completion bash",
        )
    return name


def install_script(shell: str, home: Path) -> list[Path]:
    """Write the script to where the shell looks for it; the files that were written or changed."""
    from dltrain.files import write_atomically

    places = {
        "bash": home / ".local/share/bash-completion/completions/dltrain",
        "zsh": home / ".zfunc/_dltrain",
        "fish": home / ".config/fish/completions/dltrain.fish",
    }
    script = places[shell]
    script.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(script, SCRIPTS[shell].encode())
    lines = {"zsh": (home / ".zshrc", ZSH_LINES), "bash": (home / ".bashrc", f"source '{script}'\n")}
    if shell not in lines:
        return [script]
    start_file, text = lines[shell]
    before = start_file.read_text(encoding="utf-8") if start_file.exists() else ""
    if text not in before:
        start_file.write_text(f"{before.rstrip()}\n{text}".lstrip(), encoding="utf-8")
    return [script, start_file]
