/** Completion scripts: the word lists are written into them, and what was typed is only ever compared, never evaluated. */
import type { Place } from "./words.ts";

export const shells = ["bash", "zsh", "fish", "powershell"] as const;
export type Shell = (typeof shells)[number];

export const scripts: Readonly<Record<Shell, (places: readonly Place[]) => string>> = { bash, zsh, fish, powershell };

function bash(places: readonly Place[]): string {
  const cases = places.map(({ path, commands, options }) => {
    const words = [...commands.map(({ name }) => name), ...options.map(({ flag }) => flag)];
    return `    ${single(path)}) words=${single(words.join(" "))} ;;`;
  });
  return `# bash completion for openclaw
_openclaw() {
  local current="\${COMP_WORDS[COMP_CWORD]}" path="" known="" word at words
  for (( at = 1; at < COMP_CWORD; at++ )); do
    word="\${COMP_WORDS[at]}"
    [[ $word == -* ]] && continue
    known="\${path:+$path }$word"
    case "$known" in
      ${places
        .filter(({ path }) => path !== "")
        .map(({ path }) => single(path))
        .join("|")}) path="$known" ;;
    esac
  done
  case "$path" in
${cases.join("\n")}
  esac
  COMPREPLY=()
  while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -W "$words" -- "$current")
  [[ \${#COMPREPLY[@]} -eq 0 ]] && compopt -o default
}
complete -F _openclaw openclaw
`;
}

function zsh(places: readonly Place[]): string {
  const cases = places.map(({ path, commands, options }) => {
    const words = [
      ...commands.map(({ name, summary }) => described(name, summary)),
      ...options.map(({ flag, summary }) => described(flag, summary)),
    ];
    return `    ${single(path)}) items=(${words.map(single).join(" ")}) ;;`;
  });
  return `#compdef openclaw
_openclaw() {
  local -a items
  local place="" known="" word
  for word in \${words[2,CURRENT-1]}; do
    [[ $word == -* ]] && continue
    known="\${place:+$place }$word"
    case "$known" in
      ${places
        .filter(({ path }) => path !== "")
        .map(({ path }) => single(path))
        .join("|")}) place="$known" ;;
    esac
  done
  case "$place" in
${cases.join("\n")}
  esac
  _describe 'openclaw' items || _files
}
if [[ $funcstack[1] == _openclaw ]]; then _openclaw "$@"; else compdef _openclaw openclaw; fi
`;
}

/** `name:summary` for _describe, which splits at the first colon. */
function described(name: string, summary: string): string {
  return `${name.replaceAll(":", "\\:")}:${summary}`;
}

function fish(places: readonly Place[]): string {
  const known = places.filter(({ path }) => path !== "").map(({ path }) => single(path));
  const lines = places.flatMap(({ path, commands, options }) => {
    const when = `-n ${single(`test "$(__openclaw_place)" = "${path}"`)}`;
    return [
      ...commands.map(
        ({ name, summary }) => `complete -c openclaw ${when} -f -a ${single(name)} -d ${single(summary)}`,
      ),
      ...options.map(
        ({ flag, summary }) => `complete -c openclaw ${when} -l ${flag.replace(/^--/u, "")} -d ${single(summary)}`,
      ),
    ];
  });
  return `# fish completion for openclaw
function __openclaw_place
    set -l place ""
    for word in (commandline -opc)[2..-1]
        string match -q -- '-*' $word; and continue
        set -l known (string trim -- "$place $word")
        contains -- $known ${known.join(" ")}; and set place $known
    end
    echo $place
end
${lines.join("\n")}
`;
}

function powershell(places: readonly Place[]): string {
  const rows = places.map(({ path, commands, options }) => {
    const words = [...commands.map(({ name }) => name), ...options.map(({ flag }) => flag)];
    return `    ${doubled(path)} = @(${words.map(doubled).join(", ")})`;
  });
  return `# PowerShell completion for openclaw
Register-ArgumentCompleter -Native -CommandName openclaw -ScriptBlock {
  param($wordToComplete, $commandAst, $cursorPosition)
  $places = @{
${rows.join("\n")}
  }
  $place = ''
  foreach ($element in $commandAst.CommandElements | Select-Object -Skip 1) {
    $word = $element.ToString()
    if ($word.StartsWith('-') -or $element.Extent.EndOffset -ge $cursorPosition) { continue }
    $known = "$place $word".Trim()
    if ($places.ContainsKey($known)) { $place = $known }
  }
  $places[$place] | Where-Object { $_.StartsWith($wordToComplete) } | ForEach-Object {
    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
  }
}
`;
}

/** A word in single quotes for a POSIX shell; fish reads it the same way. */
function single(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A word in single quotes for PowerShell. */
function doubled(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
