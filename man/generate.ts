/** Writes the man pages from the command tree, so that they cannot say anything else than --help does. `--check` only compares. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { type Argument, Command, type Option } from "commander";
import { Context } from "../src/cli/context.ts";
import { exitCodes } from "../src/cli/exit-codes.ts";
import { failureCodes } from "../src/cli/failure-codes.ts";
import { globalOptions } from "../src/cli/globals.ts";
import { buildWholeProgram } from "../src/cli/program.ts";
import { withTarget } from "../src/cli/target-options.ts";
import { version } from "../src/version.ts";

const environment: readonly (readonly [name: string, meaning: string])[] = [
  ["OPENCLAW_STATE_DIR", "the state directory; else OPENCLAW_HOME/.openclaw, else ~/.openclaw"],
  ["OPENCLAW_HOME", "the directory in which .openclaw is looked for"],
  ["OPENCLAW_PROFILE", "a state directory of its own: <base>-<name>"],
  ["OPENCLAW_CONFIG_PATH", "the product's configuration file, read for its gateway.* keys"],
  ["OPENCLAW_GATEWAY_URL", "the gateway that commands talk to"],
  ["OPENCLAW_GATEWAY_PORT", "the port of this machine's gateway"],
  ["OPENCLAW_GATEWAY_TOKEN", "the gateway's token"],
  ["OPENCLAW_GATEWAY_PASSWORD", "the gateway's password"],
  ["OPENCLAW_GATEWAY_HEADERS", "headers for a proxy in front of the gateway, one 'Name: value' a line"],
  ["CF_ACCESS_CLIENT_ID, CF_ACCESS_CLIENT_SECRET", "sent as the two Cloudflare Access headers"],
  ["OPENCLAW_PAIR_CODE", "the invite that openclaw node run joins with"],
  ["OPENCLAW_DEBUG", "1 is --debug"],
  ["NO_COLOR, FORCE_COLOR, TERM", "honoured for colours; TERM=dumb has none"],
  ["CI", "set: nothing is asked"],
];

const files: readonly (readonly [name: string, meaning: string])[] = [
  ["<state>/toolkit/config.json5", "the configuration; openclaw config list shows its keys"],
  [
    "<state>/toolkit/identity/device.json",
    "this machine's key, 0600; made once, and replaced only by openclaw identity import --force",
  ],
  ["<state>/toolkit/identity/device-tokens.json", "tokens that gateways issued to this machine, 0600"],
  ["<state>/toolkit/gateway.db", "what the gateway remembers: devices, requests, the audit log"],
  ["<state>/toolkit/gateway-token", "the gateway's own token, 0600"],
  ["<state>/toolkit/exec-approvals.json", "what the node may run when a gateway asks"],
  ["<state>/toolkit/services/<name>.env", "the secrets of a service, 0600, NAME=value; read at each of its starts"],
  ["<state>/openclaw.json", "the product's configuration; only read"],
];

/** Every page by its file name. */
export async function manPages(): Promise<ReadonlyMap<string, string>> {
  const silent = new PassThrough();
  const streams = { stdin: new PassThrough(), stdout: silent, stderr: silent };
  const context = new Context({ env: {}, streams, signal: new AbortController().signal }, []);
  const program = await buildWholeProgram(context);
  const pages = new Map([["openclaw.1", rootPage(program)]]);
  for (const command of program.commands) pages.set(`openclaw-${command.name()}.1`, groupPage(command));
  return pages;
}

function rootPage(program: Command): string {
  return page("openclaw", program.description(), [
    ["SYNOPSIS", ".B openclaw\n[options] <command>"],
    [
      "COMMANDS",
      terms(
        program.commands.map((command) => [
          command.name(),
          `${command.description()}; see openclaw-${command.name()}(1)`,
        ]),
      ),
    ],
    ["OPTIONS", terms([...globalOptions, ["-V, --version", "print the version"], ["-h, --help", "show help"]])],
    ["EXIT STATUS", terms(Object.entries(exitCodes).map(([name, code]) => [String(code), name]))],
    [
      "ERROR CODES",
      terms(Object.entries(failureCodes).map(([code, { exit, meaning }]) => [`${code} (${exitCodes[exit]})`, meaning])),
    ],
    [
      "ENVIRONMENT",
      `A flag beats the environment, the environment beats the file, the file beats the default.\n${terms(environment)}`,
    ],
    ["FILES", terms(files)],
    ["EXAMPLES", examplesOf(program)],
  ]);
}

function groupPage(group: Command): string {
  const leaves = leavesOf(group, `openclaw ${group.name()}`);
  const synopsis = leaves.map(([path, command]) => `.B ${path}\n${escape(usageOf(command))}\n.br`).join("\n");
  const sections = leaves.map(([path, command]): [string, string] => {
    const aliases = command.aliases().map((alias) => `Also: openclaw ${group.name()} ${alias}.`);
    const parts = [
      escape(command.description()),
      ...aliases.map(escape),
      terms(argumentsOf(command)),
      terms(optionsOf(command)),
      examplesOf(command),
    ];
    return [path.toUpperCase(), parts.filter((part) => part !== "").join("\n.PP\n")];
  });
  const usesTarget = leaves.some(([, command]) => command.options.some(isTargetOption));
  const target: [string, string][] = usesTarget
    ? [
        [
          "FINDING THE GATEWAY",
          `Commands that talk to a gateway take these. The token goes into the HTTP header and into the connect frame.\n${terms(optionRows(targetOptions))}`,
        ],
      ]
    : [];
  const see = ["SEE ALSO", ".BR openclaw (1)"] as const;
  return page(`openclaw-${group.name()}`, group.description(), [["SYNOPSIS", synopsis], ...sections, ...target, see]);
}

/** Every command that does something, with its words. */
function leavesOf(command: Command, path: string): (readonly [path: string, command: Command])[] {
  if (command.commands.length === 0) return [[path, command]];
  return command.commands.flatMap((child) => leavesOf(child, `${path} ${child.name()}`));
}

function page(name: string, summary: string, sections: readonly (readonly [title: string, body: string])[]): string {
  const head = [
    `.\\" Made from the command tree by man/generate.ts (npm run man).`,
    `.TH ${name.toUpperCase()} 1 "" "openclaw ${version}" "User Commands"`,
    ".SH NAME",
    `${escape(name)} \\- ${escape(summary)}`,
  ];
  return `${[...head, ...sections.flatMap(([title, body]) => [`.SH ${escape(title)}`, body])].join("\n")}\n`;
}

function usageOf(command: Command): string {
  const words = command.registeredArguments.map((argument) =>
    argument.required ? `<${argument.name()}>` : `[${argument.name()}]`,
  );
  return ["[options]", ...words].join(" ");
}

function argumentsOf(command: Command): [string, string][] {
  return command.registeredArguments.map((argument: Argument) => [argument.name(), argument.description]);
}

const targetOptions = withTarget(new Command()).options;

function isTargetOption({ flags, description }: Option): boolean {
  return targetOptions.some((option) => option.flags === flags && option.description === description);
}

/** A command's own options; those by which it finds its gateway stand once a page. */
function optionsOf(command: Command): [string, string][] {
  return optionRows(command.options.filter((option) => !option.hidden && !isTargetOption(option)));
}

function optionRows(options: readonly Option[]): [string, string][] {
  return options.map(({ flags, description, defaultValue }: Option) => [
    flags,
    typeof defaultValue === "string" ? `${description} (default: ${defaultValue})` : description,
  ]);
}

/** The examples stand in the text that --help prints behind the options. */
function examplesOf(command: Command): string {
  let text = "";
  command.configureOutput({ writeOut: (part) => void (text += part) });
  command.outputHelp();
  const examples = text
    .split("\n")
    .filter((line) => line.startsWith("  $ "))
    .map((line) => escape(line.slice(4)));
  return examples.length === 0 ? "" : [".nf", ...examples, ".fi"].join("\n");
}

function terms(rows: readonly (readonly [term: string, meaning: string])[]): string {
  return rows.map(([term, meaning]) => `.TP\n.B ${escape(term)}\n${escape(meaning)}`).join("\n");
}

/** Text that roff must not read as a request or an escape. */
function escape(text: string): string {
  const plain = text.replaceAll("\\", "\\e").replaceAll("-", "\\-");
  return /^[.']/u.test(plain) ? `\\&${plain}` : plain;
}

if (import.meta.main) {
  const stale: string[] = [];
  for (const [name, text] of await manPages()) {
    const path = join(import.meta.dirname, name);
    if (!process.argv.includes("--check")) writeFileSync(path, text);
    else if (readFileSync(path, "utf8") !== text) stale.push(name);
  }
  if (stale.length > 0) {
    process.stderr.write(`not in step with the command tree: ${stale.join(", ")} (npm run man)\n`);
    process.exitCode = 1;
  }
}
