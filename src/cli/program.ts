/** The command tree, as far as this command line needs it. */
import { Command } from "commander";
import type { Context } from "./context.ts";
import { addGlobals, configure, globalsWithValue } from "./globals.ts";
import { type Group, groups } from "./groups.ts";
import { versionLine } from "./version-line.ts";

/** The program with the command that `argv` names and no other; with no name, or an unknown one, every group stands there by its summary. */
export async function buildProgram(context: Context, argv: readonly string[]): Promise<Command> {
  const [word, verb] = commandWords(argv);
  const named = groups.find(({ name }) => name === word);
  const program = emptyProgram(context);
  if (named === undefined) for (const group of groups) program.addCommand(signpost(group));
  else program.addCommand((await named.load(buildWholeProgram))(context, verb));
  return speakThrough(context, program);
}

/** The program with every command loaded: for completion, man pages and the tests that hold them to it. */
export async function buildWholeProgram(context: Context): Promise<Command> {
  const program = emptyProgram(context);
  for (const group of groups) {
    const command = (await group.load(buildWholeProgram))(context);
    program.addCommand(command.summary(group.summary));
  }
  return speakThrough(context, program);
}

/** Columns of every help text, as in man pages: the same on every terminal, so that the build can lay it out. */
const helpWidth = 80;

/** The help text of every command by its words, for the build. */
export function helpTexts(program: Command): ReadonlyMap<readonly string[], string> {
  const texts = new Map<readonly string[], string>();
  const visit = (command: Command, words: readonly string[]): void => {
    let text = "";
    command.configureOutput({ writeOut: (part) => void (text += part) });
    command.outputHelp();
    texts.set(words, text);
    for (const child of command.commands)
      for (const name of [child.name(), ...child.aliases()]) visit(child, [...words, name]);
  };
  visit(program, []);
  return texts;
}

/** Help goes through our streams; complaints do not go there at all, for failures have one way out: `failure.ts`. */
function speakThrough(context: Context, command: Command): Command {
  command.configureOutput({
    writeOut: (text) => void context.streams.stdout.write(text),
    writeErr: () => {},
    outputError: () => {},
    getOutHelpWidth: () => helpWidth,
    getOutHasColors: () => false,
  });
  for (const child of command.commands) speakThrough(context, child);
  return command;
}

function emptyProgram(context: Context): Command {
  const program = configure(new Command("openclaw"))
    .description("Pair OpenClaw gateways through SSH tunnels, and know why when it does not work")
    .version(versionLine(context.output.options.json), "-V, --version", "print the version")
    .usage("[options] <command>")
    // Names alone: the list is the same whether a group was loaded or not.
    .configureHelp({ showGlobalOptions: false, subcommandTerm: (command) => command.name() })
    .addHelpText(
      "after",
      "\nExamples:\n  $ openclaw demo\n  $ openclaw gateway run\n  $ openclaw explain pairing-required",
    );
  return addGlobals(program, false).hook("preAction", (_program, action) =>
    context.useGlobals(action.optsWithGlobals()),
  );
}

/** Stands for a group that this command line does not need. */
function signpost({ name, summary }: Group): Command {
  return configure(new Command(name).description(summary));
}

/** The words that are no option and no option's value. */
export function commandWords(argv: readonly string[]): readonly string[] {
  return argv.filter((word, at) => !word.startsWith("-") && !globalsWithValue.has(argv[at - 1] ?? ""));
}
