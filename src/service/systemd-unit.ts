/** A service as a unit of systemd's user manager: systemd.service(5), systemd.exec(5), systemd.syntax(7). Pure. */
import { ownerMark, type ServiceSpec } from "./service-spec.ts";

/**
 * The unit's text. It has no `After=network-online.target`, which is a unit of the system manager and not of a user's, and the service tries
 * again by itself. It has no sandbox either: each kind that a user's manager can set up sets `NoNewPrivileges` too, and what the node runs
 * is meant to be able to do what its user can.
 */
export function unitText(spec: ServiceSpec): string {
  const [program, ...words] = spec.command;
  const variables = Object.entries(spec.environment).map(([name, value]) => unitWord(`${name}=${value}`));
  return `# ${ownerMark(spec.owner)}
# Written by openclaw node install, which also replaces it; openclaw node uninstall removes it.
# Its secrets are in ${JSON.stringify(spec.owner.envFile)}.
[Unit]
Description=${withoutSpecifiers(spec.description)}

[Service]
Type=exec
ExecStart=${[unitWord(program), ...words.map(unitArgument)].join(" ")}
${variables.map((variable) => `Environment=${variable}\n`).join("")}\
${spec.withoutEnvironment.length === 0 ? "" : `UnsetEnvironment=${spec.withoutEnvironment.join(" ")}\n`}\
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=${spec.finalExitCodes.join(" ")}
# The node ends what it runs by itself; what is left after that is killed.
KillMode=mixed
TimeoutStopSec=10
# A program of the node's that ran out of memory takes nothing else with it.
OOMPolicy=continue
# A core file would have the secrets in it.
LimitCORE=0

[Install]
WantedBy=default.target
`;
}

/** One word of a line that knows words: quoted where it must be, its specifiers (systemd.unit(5)) taken literally. */
export function unitWord(text: string): string {
  const literal = withoutSpecifiers(text);
  return /^[\w@%+=:,./$-]+$/u.test(literal) ? literal : `"${literal.replace(mustBeEscaped, escaped)}"`;
}

/** An argument of `ExecStart=`: a dollar would be the beginning of a variable, except in the program's path. */
export function unitArgument(text: string): string {
  return unitWord(text.replaceAll("$", "$$$$"));
}

// eslint-disable-next-line no-control-regex
const mustBeEscaped = /["\\\u0000-\u001f\u007f]/gu;

/** The C-style escapes of systemd.syntax(7). */
function escaped(char: string): string {
  return char === '"' || char === "\\" ? `\\${char}` : `\\x${(char.codePointAt(0) ?? 0).toString(16).padStart(2, "0")}`;
}

function withoutSpecifiers(text: string): string {
  return text.replaceAll("%", "%%");
}
