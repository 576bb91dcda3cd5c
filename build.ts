/** Builds what the package ships: the command, the library, and the library's types. */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { PassThrough } from "node:stream";
import { build, type BuildOptions, type Plugin } from "rolldown";
import { Context } from "./src/cli/context.ts";
import { buildWholeProgram, helpTexts } from "./src/cli/program.ts";
import { helpFile } from "./src/cli/ready-help.ts";

rmSync("dist", { recursive: true, force: true });

/** commander starts programs for subcommands that are executables of their own; we have none, and child_process is dear to load. */
const withoutChildProcesses: Plugin = {
  name: "commander-without-child-processes",
  resolveId: (source, importer) =>
    source === "node:child_process" && importer?.includes("commander") === true ? "\0unused" : null,
  load: (id) => (id === "\0unused" ? "export default {};" : null),
};

const common = {
  platform: "node",
  // CommonJS packages with native or optional parts stay what they are; they are loaded when a socket or a tunnel is opened.
  external: ["ws", /^ssh2(\/|$)/, "json5", "keytar"],
  plugins: [withoutChildProcesses],
  transform: { target: "node24" },
  // The version is a constant, and not a file of its own.
  optimization: { inlineConst: { mode: "all" } },
} satisfies BuildOptions;
// Names are shortened too: what a process starts with is read and parsed every time.
const minify = { compress: true, mangle: true, codegen: true };

/** What every command that asks a gateway needs, in one file with all that it imports: a file of its own costs a third of a millisecond. */
const start =
  /src.cli.(process|fail|failure|operator|target-options|token-choice|device-directory|human|rejection)\.ts$/u;

/** What carries a tunnel, likewise. The many paths of many files would also have V8 optimise the code that puts paths together: 5 MiB. */
const tunnel =
  /src.(ssh.(?!ssh-server|server-session|command|destination)|tunnel.(?!drill|fault-relay|key-trial|authorized-key|control-|probe|limits)).*\.ts$/u;
/** What is written down about what runs, likewise. */
const records =
  /src.(store.(private-directory|state-failure|atomic-file|process-life)|state.(tunnel-name|tunnel-record|run-record))\.ts$/u;

// The command is CommonJS, for it starts in fewer milliseconds and less memory than the same code as ECMAScript modules.
await build({
  ...common,
  input: { main: "src/cli/main.ts", "keychain-process": "src/state/keychain-process.ts" },
  preserveEntrySignatures: "allow-extension", // which groups of less than all that they import ask for
  output: {
    dir: "dist/command",
    format: "cjs",
    minify,
    entryFileNames: "[name].cjs",
    chunkFileNames: "[name]-[hash].cjs",
    codeSplitting: {
      groups: [
        { name: "start", test: start, priority: 1 },
        { name: "tunnel", test: tunnel, includeDependenciesRecursively: false },
        { name: "records", test: records, includeDependenciesRecursively: false },
      ],
    },
  },
});
await build({ ...common, input: { index: "src/index.ts" }, output: { dir: "dist", format: "esm", minify } });

mkdirSync("dist/command/help");
const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() };
const context = new Context({ env: {}, streams, signal: new AbortController().signal }, []);
for (const [words, text] of helpTexts(await buildWholeProgram(context)))
  writeFileSync(`dist/command/help/${helpFile(words)}`, text);

execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"], { stdio: "inherit" });
