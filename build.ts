/** Builds what the package ships: the CLI and the library as lazily split bundles, and the library's types. */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { PassThrough } from "node:stream";
import { build, type Plugin } from "esbuild";
import { Context } from "./src/cli/context.ts";
import { buildWholeProgram, helpTexts } from "./src/cli/program.ts";
import { helpFile } from "./src/cli/ready-help.ts";

rmSync("dist", { recursive: true, force: true });

/** commander starts programs for subcommands that are executables of their own; we have none, and child_process is dear to load. */
const withoutChildProcesses: Plugin = {
  name: "commander-without-child-processes",
  setup(plugin) {
    plugin.onResolve({ filter: /^node:child_process$/ }, ({ importer }) =>
      importer.includes("commander") ? { path: "child_process", namespace: "unused" } : undefined,
    );
    plugin.onLoad({ filter: /.*/, namespace: "unused" }, () => ({ contents: "export default {};" }));
  },
};

await build({
  entryPoints: { main: "src/cli/main.ts", index: "src/index.ts" },
  outdir: "dist",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node24",
  minifySyntax: true,
  minifyWhitespace: true,
  // CommonJS packages with native or optional parts stay what they are; they are loaded when a socket or a tunnel is opened.
  external: ["ws", "ssh2", "json5"],
  plugins: [withoutChildProcesses],
  banner: {
    js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
  },
});

mkdirSync("dist/help");
const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() };
const context = new Context({ env: {}, streams, signal: new AbortController().signal }, []);
for (const [words, text] of helpTexts(await buildWholeProgram(context)))
  writeFileSync(`dist/help/${helpFile(words)}`, text);

execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"], { stdio: "inherit" });
