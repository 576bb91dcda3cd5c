import { execFile } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { groups } from "../../src/cli/groups.ts";
import { CliHome } from "../support/run-cli.ts";

const run = promisify(execFile);
const isInstalled = (program: string) =>
  ["/bin", "/usr/bin", "/usr/local/bin"].some((directory) => existsSync(`${directory}/${program}`));

test.each(["bash", "zsh", "fish", "powershell"])(
  "the script for %s has every first word, and --json wraps it",
  async (shell) => {
    using home = new CliHome();
    const { code, stdout, stderr } = await home.run(`completion ${shell}`);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (const { name } of groups) expect(stdout).toContain(name);
    for (const word of ["rotate", "--host-key-fingerprint", "--token-file"])
      expect(stdout).toContain(word.replace(/^--/u, ""));
    expect(await home.run(`completion ${shell} --json`)).toMatchObject({
      code: 0,
      json: { ok: true, shell, script: stdout },
    });
  },
);

/** What bash would offer after these words, the last one unfinished. Its set-up file stays out: bash reads it when its input is a socket. */
async function offered(home: CliHome, ...words: readonly string[]): Promise<readonly string[]> {
  const script = home.path("completion.bash");
  writeFileSync(script, (await home.run("completion bash")).stdout);
  const ask = `
    source ${script}
    COMP_WORDS=("$@") COMP_CWORD=$(( $# - 1 ))
    _openclaw 2>/dev/null
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout } = await run("bash", ["--norc", "-c", ask, "bash", "openclaw", ...words]);
  return stdout.split("\n").filter((line) => line !== "");
}

test.each<[words: readonly string[], wanted: readonly string[]]>([
  [["dev"], ["devices"]],
  [
    ["devices", "r"],
    ["reject", "remove", "rename", "rotate", "revoke"],
  ],
  [["devices", "rotate", "--sel"], ["--self"]],
  [["--json", "devices", "app"], ["approve"]],
  [["tunnel", "open", "host", "--host-key-f"], ["--host-key-fingerprint"]],
  [["config", "un"], ["unset"]],
])("bash completes %j", async (words, wanted) => {
  using home = new CliHome();
  expect(await offered(home, ...words)).toEqual(wanted);
});

test("bash never evaluates what was typed", async () => {
  using home = new CliHome();
  const trap = home.path("trap");
  await offered(home, `$(touch ${trap})`, `\`touch ${trap}\``, `';touch ${trap};'`, "");
  expect(existsSync(trap)).toBe(false);
});

test("bash reads the script without complaint", async () => {
  using home = new CliHome();
  const script = home.path("script");
  writeFileSync(script, (await home.run("completion bash")).stdout);
  await expect(run("bash", ["--norc", "-n", script])).resolves.toMatchObject({ stderr: "" });
});

test.runIf(isInstalled("zsh"))("zsh takes the script as the completion of openclaw", async () => {
  using home = new CliHome();
  const script = home.path("script");
  writeFileSync(script, (await home.run("completion zsh")).stdout);
  const ask = `autoload -Uz compinit && compinit -u -D && source ${script} && print -r -- $_comps[openclaw]`;
  const { stdout, stderr } = await run("zsh", ["-f", "-c", ask], { env: home.env() });
  expect({ stdout, stderr }).toEqual({ stdout: "_openclaw\n", stderr: "" });
});

test.runIf(isInstalled("fish"))("fish completes a verb", async () => {
  using home = new CliHome();
  const script = home.path("script.fish");
  writeFileSync(script, (await home.run("completion fish")).stdout);
  const { stdout } = await run("fish", ["-c", `source ${script}; complete -C 'openclaw devices rot'`], {
    env: { ...process.env, HOME: home.directory },
  });
  expect(stdout).toMatch(/^rotate\b/u);
});
