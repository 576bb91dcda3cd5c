/** The options that every command takes, and how a command is made so that it takes them. */
import { Command, Option } from "commander";
import type { Context } from "./context.ts";

export interface Globals {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
  readonly debug?: boolean;
  readonly color?: boolean;
  readonly input?: boolean;
  readonly timeout?: string;
  readonly stateDir?: string;
  readonly config?: string;
  readonly profile?: string;
  readonly secretStore?: string;
}

/** Flags, help text. Written once: the root shows them, every command takes them, completion and man pages list them. */
export const globalOptions: readonly (readonly [flags: string, description: string])[] = [
  ["--json", "print one JSON document, or one JSON object a line for long-running commands"],
  ["-q, --quiet", "only the answer and errors"],
  ["-v, --verbose", "more about what happens, on stderr"],
  ["--debug", "stack traces and a log with secrets masked, on stderr"],
  ["--no-color", "no colours"],
  ["--no-input", "never ask; fail and name the option that would have answered"],
  [
    "--timeout <duration>",
    "how long a one-shot command may take (default: 10s; 30s where a service is started or stopped)",
  ],
  ["--state-dir <dir>", "the state directory (default: ~/.openclaw)"],
  ["--config <file>", "the configuration file (default: <state>/toolkit/config.json5)"],
  ["--profile <name>", "a state directory of its own: <base>-<name>"],
  ["--secret-store <store>", "where a new device key is kept: auto, keychain or file (default: auto)"],
];

/** The words that an option takes, where it takes no others. */
const choices: Readonly<Record<string, readonly string[]>> = {
  "--secret-store <store>": ["auto", "keychain", "file"],
};

/** The global options that take a value: what stands behind them is no command word. */
export const globalsWithValue: ReadonlySet<string> = new Set(
  globalOptions.filter(([flags]) => flags.includes("<")).map(([flags]) => flags.split(" ")[0] ?? flags),
);

/** Adds the global options; hidden everywhere but at the root, so that a command's help is about the command. */
export function addGlobals(command: Command, hidden: boolean): Command {
  for (const [flags, description] of globalOptions) {
    const option = new Option(flags, description);
    const words = choices[flags];
    if (words !== undefined) option.choices(words);
    command.addOption(hidden ? option.hideHelp() : option);
  }
  return command;
}

/** A command with an example, set up like all of ours: it throws instead of exiting and takes the global options anywhere. */
export function defineCommand(name: string, description: string, examples: readonly string[]): Command {
  const command = new Command(name).description(description);
  command.addHelpText("after", helpFooter(examples));
  return addGlobals(configure(command), true);
}

/** A command that only holds others, each by its name. When `verb` names one of them, the others are not made. */
export function defineGroup(
  context: Context,
  verb: string | undefined,
  name: string,
  description: string,
  examples: readonly string[],
  commands: Readonly<Record<string, (context: Context) => Command>>,
): Command {
  const group = configure(new Command(name).description(description));
  const named = verb !== undefined && Object.hasOwn(commands, verb) ? commands[verb] : undefined;
  for (const make of named === undefined ? Object.values(commands) : [named]) group.addCommand(make(context));
  group.addHelpText("after", helpFooter(examples));
  return addGlobals(group, true);
}

export function configure(command: Command): Command {
  return command
    .exitOverride()
    .helpOption("-h, --help", "show help")
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: false });
}

function helpFooter(examples: readonly string[]): string {
  const title = examples.length === 1 ? "Example:" : "Examples:";
  return `\n${title}\n${examples.map((example) => `  $ ${example}`).join("\n")}\n\nGlobal options: openclaw --help`;
}

/** Collects a repeatable option's values in order. */
export function collect(value: string, previous: readonly string[] | undefined): string[] {
  return [...(previous ?? []), value];
}
