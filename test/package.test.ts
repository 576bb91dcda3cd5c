/** The package as somebody gets it: built and packed from a copy of the checkout, installed in an empty project, and used from there. */
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { version } from "../src/version.ts";
import { CliHome } from "./support/run-cli.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "..");
const directory = mkdtempSync(join(tmpdir(), "openclaw-package-"));
const [copy, project] = [join(directory, "copy"), join(directory, "project")];
const env = { PATH: process.env["PATH"], HOME: process.env["HOME"], npm_config_update_notifier: "false" };
let packed: readonly string[];

beforeAll(async () => {
  mkdirSync(copy);
  mkdirSync(project);
  const names = readdirSync(root).filter(
    (name) => !["node_modules", "dist", "coverage", "test", "bench"].includes(name) && !name.startsWith(".git"),
  );
  for (const name of names) cpSync(join(root, name), join(copy, name), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  await run(process.execPath, ["build.ts"], { cwd: copy, env });
  const { stdout } = await run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", directory], {
    cwd: copy,
    env,
  });
  const [{ filename, files }]: [{ filename: string; files: readonly { path: string }[] }] = JSON.parse(stdout);
  packed = files.map(({ path }) => path);
  writeFileSync(join(project, "package.json"), '{ "name": "project", "version": "1.0.0", "type": "module" }');
  // What the checkout was installed with is in npm's cache; the registry is asked only where it is not.
  const flags = ["--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=dev"];
  await run("npm", ["install", ...flags, join(directory, filename)], { cwd: project, env });
}, 300_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test("the package holds what it needs and nothing else", () => {
  const outside = packed.filter(
    (path) =>
      !/^(bin\/(openclaw\.js|package\.json)|dist\/.*\.(js|d\.ts)|dist\/command\/.*\.cjs|dist\/command\/help\/[a-z-]+\.txt|man\/[a-z-]+\.1|README\.md|CHANGELOG\.md|LICENSE|package\.json)$/u.test(
        path,
      ),
  );
  expect(outside).toEqual([]);
  for (const path of [
    "bin/openclaw.js",
    "dist/command/main.cjs",
    "dist/index.js",
    "dist/index.d.ts",
    "man/openclaw.1",
    "LICENSE",
  ]) {
    expect(packed).toContain(path);
  }
});

test("the installed command runs", async () => {
  const openclaw = join(project, "node_modules/.bin/openclaw");
  const { stdout } = await run(openclaw, ["--version"], { env });
  expect(stdout).toBe(`openclaw ${version}\n`);
  const state = join(directory, "state");
  const created = await run(openclaw, ["identity", "create", "--json", "--state-dir", state], { env });
  expect(JSON.parse(created.stdout)).toMatchObject({ ok: true });
});

test.each(["--help", "devices --help", "devices rotate --help", "demo --help"])(
  "%s says what the checkout's says",
  async (line) => {
    using home = new CliHome();
    const { stdout } = await run(join(project, "node_modules/.bin/openclaw"), line.split(" "), { env });
    expect(stdout).toBe((await home.run(line)).stdout);
  },
);

test("every command loads from the bundle", async () => {
  const openclaw = join(project, "node_modules/.bin/openclaw");
  const { stdout } = await run(openclaw, ["completion", "bash"], { env });
  expect(stdout).toContain("rotate");
});

test("a program can start a gateway and stop it", async () => {
  const program = `
    import { createGateway } from "openclaw-toolkit";
    await using gateway = await createGateway({ auth: { mode: "token", token: "secret" } });
    console.log(gateway.url);`;
  const { stdout } = await run(process.execPath, ["--input-type=module", "-e", program], { cwd: project, env });
  expect(stdout).toMatch(/^ws:\/\/127\.0\.0\.1:\d+\n$/u);
});

test("a program in TypeScript finds the types, and all that they name", async () => {
  const program = [
    'import { createGateway, type Gateway } from "openclaw-toolkit";',
    'export type * from "openclaw-toolkit";',
    "export const gateway: Gateway = await createGateway({ port: 0 });",
    "// @ts-expect-error: a port is a number",
    'await createGateway({ port: "many" });',
  ];
  writeFileSync(join(project, "program.ts"), program.join("\n"));
  const compilerOptions = {
    module: "nodenext",
    target: "es2024",
    lib: ["es2024", "esnext.disposable"],
    strict: true,
    noEmit: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    typeRoots: [join(root, "node_modules/@types")],
    types: ["node"],
  };
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["program.ts"] }));
  const compiler = join(root, "node_modules/typescript/bin/tsc");
  const said = await run(process.execPath, [compiler, "-p", "tsconfig.json"], { cwd: project, env }).then(
    ({ stdout }) => stdout,
    ({ stdout }: { readonly stdout: string }) => stdout,
  );
  expect(said.trim()).toBe("");
});
