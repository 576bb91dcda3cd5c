/** What is said in more than one place is the same everywhere: commands, man pages, completion, error codes, exit codes, versions. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import type { Command, Option } from "commander";
import { expect, test } from "vitest";
import { manPages } from "../man/generate.ts";
import { scripts, shells } from "../src/cli/completion/scripts.ts";
import { wordsOf } from "../src/cli/completion/words.ts";
import { Context } from "../src/cli/context.ts";
import { exitCodes } from "../src/cli/exit-codes.ts";
import { failureCodes } from "../src/cli/failure-codes.ts";
import { failureCodes as codes } from "../src/errors.ts";
import { groups } from "../src/cli/groups.ts";
import { buildWholeProgram } from "../src/cli/program.ts";
import { version } from "../src/version.ts";

const root = join(import.meta.dirname, "..");
const read = (...names: readonly string[]) => readFileSync(join(root, ...names), "utf8");
const packageJson: { readonly version: string; readonly man: readonly string[] } = JSON.parse(read("package.json"));

const silent = new PassThrough();
const program = await buildWholeProgram(
  new Context(
    {
      env: {},
      streams: { stdin: new PassThrough(), stdout: silent, stderr: silent },
      signal: new AbortController().signal,
    },
    [],
  ),
);
const commands = leavesOf(program, []);

test("every command of the contract is there", () => {
  expect(commands.map(([path]) => path).toSorted()).toEqual(
    [
      "gateway explain",
      "gateway run",
      "gateway status",
      "gateway token",
      ...["install", "restart", "run", "start", "status", "stop", "uninstall"].map((verb) => `node ${verb}`),
      ...["approve", "clear", "list", "reject", "remove", "rename", "revoke", "rotate"].map(
        (verb) => `devices ${verb}`,
      ),
      "devices service-account create",
      "security audit",
      "status",
      ...["approve", "describe", "invoke", "list", "pending", "reject", "rename"].map((verb) => `nodes ${verb}`),
      ...["approve", "end", "invite", "invites", "join", "link", "list", "reject", "request", "status"].map(
        (verb) => `pair ${verb}`,
      ),
      ...["unlink", "verify", "withdraw"].map((verb) => `pair ${verb}`),
      ...["create", "import", "list", "move", "rotate", "show"].map((verb) => `identity ${verb}`),
      ...["get", "list", "path", "set", "unset", "validate"].map((verb) => `config ${verb}`),
      ...["check", "close", "drill", "inspect", "key", "list", "logs", "open", "reopen"].map(
        (verb) => `tunnel ${verb}`,
      ),
      "call",
      "explain",
      "completion",
      "demo",
    ].toSorted(),
  );
});

test.each(commands)("%s says what it does, and has an example that begins with it", (path, command) => {
  expect(command.description()).not.toBe("");
  expect(helpOf(command)).toMatch(new RegExp(`\\n {2}\\$ ([A-Z_]+=\\S+ )*openclaw ${path}`, "u"));
});

test.each(commands)("every option and argument of %s is described", (_path, command) => {
  const silentOptions = shownOptions(command).filter(({ description }) => description === "");
  const silentArguments = command.registeredArguments.filter(({ description }) => description === "");
  expect([...silentOptions.map(({ flags }) => flags), ...silentArguments.map((argument) => argument.name())]).toEqual(
    [],
  );
});

test("the summary of a group is the same in the list and in its own help", () => {
  for (const command of program.commands.filter((candidate) => candidate.commands.length > 0)) {
    expect(command.description()).toBe(groups.find(({ name }) => name === command.name())?.summary);
  }
});

test("the man pages are those that the command tree makes (npm run man)", async () => {
  const pages = await manPages();
  expect(
    readdirSync(join(root, "man"))
      .filter((name) => name.endsWith(".1"))
      .toSorted(),
  ).toEqual([...pages.keys()].toSorted());
  for (const [name, text] of pages) expect(read("man", name) === text, `${name} is not in step`).toBe(true);
});

test("the package names every man page", async () => {
  const pages = await manPages();
  expect(packageJson.man.toSorted()).toEqual([...pages.keys()].map((name) => `man/${name}`).toSorted());
});

test.each(commands)("%s stands in its man page with every option and argument", (path, command) => {
  const page = read("man", `openclaw-${path.split(" ")[0]}.1`).replaceAll("\\-", "-");
  expect(page).toContain(`.SH OPENCLAW ${path.toUpperCase()}\n`);
  for (const { flags } of shownOptions(command)) expect(page).toContain(`.B ${flags}\n`);
  for (const argument of command.registeredArguments) expect(page).toContain(`.B ${argument.name()}\n`);
});

test("every error code is explained, and stands in openclaw(1) with its exit code", () => {
  expect(Object.keys(failureCodes).toSorted()).toEqual([...codes].toSorted());
  const page = read("man/openclaw.1").replaceAll("\\-", "-");
  for (const [code, { exit }] of Object.entries(failureCodes))
    expect(page).toContain(`.B ${code} (${exitCodes[exit]})\n`);
});

test("the exit codes of the README are the exit codes", () => {
  const rows = read("README.md").matchAll(/^\| (\d+) \| ([a-z-]+) \|/gmu);
  expect([...rows].map(([, code, name]) => [name, Number(code)])).toEqual(Object.entries(exitCodes));
});

test("commands that the README names exist", () => {
  const paths = commands.map(([path]) => path);
  const nouns = new Set(
    program.commands.filter((command) => command.commands.length > 0).map((command) => command.name()),
  );
  const named = [...read("README.md").matchAll(/openclaw (([a-z]+) [a-z-]+)/gu)].filter(([, , noun = ""]) =>
    nouns.has(noun),
  );
  const isThere = (words: string) => paths.some((path) => path === words || path.startsWith(`${words} `));
  expect(named.map(([, words = ""]) => words).filter((words) => !isThere(words))).toEqual([]);
});

test("the changelog and the package have the program's version", () => {
  expect(packageJson.version).toBe(version);
  expect(read("CHANGELOG.md")).toContain(version);
});

test.each(shells)("the %s completion has every command, and every option of each", (shell) => {
  const script = scripts[shell](wordsOf(program));
  for (const [path, command] of commands) {
    for (const word of path.split(" ")) expect(script).toContain(word);
    for (const { long } of shownOptions(command)) expect(script).toContain(long?.replace(/^--/u, "") ?? "");
  }
});

test("three commands reveal secrets, and each only with --show", () => {
  const revealing = commands
    .filter(([, command]) => command.options.some(({ long }) => long === "--show"))
    .map(([path]) => path);
  expect(revealing.toSorted()).toEqual(["config get", "gateway token", "identity show"]);
});

/** Every command that does something, with its words. */
function leavesOf(command: Command, path: readonly string[]): [path: string, command: Command][] {
  if (command.commands.length === 0) return [[path.join(" "), command]];
  return command.commands.flatMap((child) => leavesOf(child, [...path, child.name()]));
}

/** The options of its own: those that every command takes are shown by the program. */
function shownOptions(command: Command): readonly Option[] {
  return command.options.filter(({ hidden }) => !hidden);
}

function helpOf(command: Command): string {
  let text = "";
  command.configureOutput({ writeOut: (part) => void (text += part) });
  command.outputHelp();
  return text;
}
