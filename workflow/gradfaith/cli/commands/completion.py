"""gradfaith completion bash|zsh: print the script that completes commands, options and studies in a shell."""

import argparse

from gradfaith.cli.command import Command
from gradfaith.cli.main import build_parser

COMMAND = Command(summary="print a script that completes the words of this command line in bash or zsh", anywhere=True)
SCRIPT = """\
_gradfaith() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words
    case ${{COMP_WORDS[1]}} in
{cases}
    esac
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{commands} --help --version" -- "$word"))
    else
        local studies=$(ls config/studies 2>/dev/null | sed -n 's/\\.yaml$//p')
        COMPREPLY=($(compgen -W "$words $studies" -- "$word"; compgen -f -- "$word"))
    fi
}}
complete -o filenames -F _gradfaith gradfaith
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell that the script is for")
    parser.epilog = (
        'In ~/.bashrc or ~/.zshrc: eval "$(gradfaith completion bash)" or eval "$(gradfaith completion zsh)"'
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the script; zsh runs the one of bash."""
    (commands,) = (
        action.choices for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    cases = [f'        {name}) words="{" ".join(_words(parser))}" ;;' for name, parser in commands.items()]
    if arguments.shell == "zsh":
        print("autoload -U +X compinit bashcompinit && compinit && bashcompinit")
    print(SCRIPT.format(cases="\n".join(cases), commands=" ".join(commands)), end="")


def _words(parser: argparse.ArgumentParser) -> list[str]:
    """Return the long options of a command, and the choices of its arguments."""
    options = [word for action in parser._actions for word in action.option_strings if word.startswith("--")]
    return options + [str(choice) for action in parser._actions for choice in action.choices or () if choice]
