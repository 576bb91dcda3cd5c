/** Printed commands go to the same gateway, when they are pasted in the same shell. */
import { execFileSync } from "node:child_process";
import type { Command } from "commander";
import { array, assert, property, string } from "fast-check";
import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { Context } from "../../src/cli/context.ts";
import { type Given, pasteable } from "../../src/cli/paste.ts";
import { buildWholeProgram } from "../../src/cli/program.ts";
import { takesTarget } from "../../src/cli/target-options.ts";
import { shellWord } from "../../src/shell-word.ts";
import { makeDevice } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";
import { startGatewayHome } from "./world.ts";

/** What every command with target options has. */
const target = { authHeader: true };
const approve = "openclaw devices approve cbc1ad44-eb3d";

test.each<[what: string, command: string, given: Given, want: string]>([
  ["nothing was given", approve, target, approve],
  ["a port", approve, { ...target, port: "18790" }, `${approve} --port 18790`],
  [
    "a host with TLS, a path and a pin",
    approve,
    { ...target, host: "gw.example", tls: true, contextPath: "/claw", tlsFingerprint: "AB:CD" },
    `${approve} --host gw.example --tls --context-path /claw --tls-fingerprint AB:CD`,
  ],
  ["a URL", approve, { ...target, url: "ws://[::1]:1/x y" }, `${approve} --url 'ws://[::1]:1/x y'`],
  ["a state directory", approve, { ...target, stateDir: "/tmp/it's" }, `${approve} --state-dir '/tmp/it'\\''s'`],
  [
    "a configuration and a profile",
    approve,
    { ...target, config: "/c.json5", profile: "work" },
    `${approve} --config /c.json5 --profile work`,
  ],
  [
    "the file of a secret",
    approve,
    { ...target, tokenFile: "/t", passwordFile: "/p", headerFile: "/h" },
    `${approve} --token-file /t --password-file /p --header-file /h`,
  ],
  [
    "secrets themselves stay out",
    approve,
    { ...target, token: "hush", password: "hush", header: ["X-Key: hush"] },
    approve,
  ],
  ["what stood on standard input is gone", approve, { ...target, tokenFile: "-", passwordFile: "-" }, approve],
  ["how secrets travel", approve, { authHeader: false, insecureWs: true }, `${approve} --no-auth-header --insecure-ws`],
  ["talk and time are no address", approve, { ...target, json: true, debug: true, timeout: "1s" }, approve],
  [
    "a command with an address of its own keeps it",
    "openclaw gateway status --url ws://127.0.0.1:1",
    { ...target, url: "wss://127.0.0.1:1", tls: true, port: "1", tokenFile: "/t", stateDir: "/s" },
    "openclaw gateway status --url ws://127.0.0.1:1 --token-file /t --state-dir /s",
  ],
  [
    "a command that needs no gateway gets the state alone",
    "openclaw config validate",
    { ...target, port: "1", stateDir: "/s" },
    "openclaw config validate --state-dir /s",
  ],
  [
    "options of a command without target options mean something else",
    "openclaw devices list",
    { port: "0", tokenFile: "/t", stateDir: "/s" },
    "openclaw devices list --state-dir /s",
  ],
  ["a command of another program", "chmod 600 /key", { ...target, port: "1", stateDir: "/s" }, "chmod 600 /key"],
  ["an id that would be a command", "openclaw nodes approve x; reboot", target, "openclaw nodes approve 'x; reboot'"],
])("%s", (_what, command, given, want) => {
  expect(pasteable(command, given)).toBe(want);
});

test("a shell reads back the words that were meant, whatever is in them", () => {
  const text = string({ unit: "grapheme", maxLength: 20 }).filter((word) => !word.includes("\0"));
  assert(
    property(array(text, { minLength: 1, maxLength: 20 }), (words) => {
      const script = `printf '%s\\0' ${words.map(shellWord).join(" ")}`;
      expect(execFileSync("/bin/sh", ["-c", script]).toString()).toBe(words.map((word) => `${word}\0`).join(""));
    }),
    { numRuns: 50 },
  );
});

test("the commands that take the target options are known by name", async () => {
  const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() };
  const context = new Context({ env: {}, streams, signal: new AbortController().signal }, []);
  const found = leaves(await buildWholeProgram(context), []);
  expect(found.filter(({ words }) => takesTarget(words))).toEqual(found.filter(({ hasTarget }) => hasTarget));
});

function leaves(command: Command, words: readonly string[]): { readonly words: string; readonly hasTarget: boolean }[] {
  if (command.commands.length > 0) return command.commands.flatMap((child) => leaves(child, [...words, child.name()]));
  return [{ words: words.join(" "), hasTarget: command.options.some(({ long }) => long === "--no-auth-header") }];
}

test("what a command prints to be pasted does its work when it is pasted, nothing added", async () => {
  await using home = await startGatewayHome();
  const requestId = await home.request({ device: makeDevice() });
  // Neither machine nor environment say where the gateway is: only the command line does.
  using stranger = new CliHome();
  const where = `--url ${home.url} --state-dir '${home.stateDir}'`;
  const shown = await stranger.run(`devices approve --json ${where}`);
  const fix = `openclaw devices approve ${requestId} --url ${home.url} --state-dir ${home.stateDir}`;
  expect(shown).toMatchObject({ code: 5, json: { error: { code: "approval-unconfirmed", fix } } });
  const people = await stranger.run(`devices approve ${where}`);
  expect(people.stderr).toContain(`\nfix: ${fix}\n`);
  expect(await stranger.run(fix.slice("openclaw ".length))).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("Approved"),
  });
});

test("no printed command holds a secret from the command line", async () => {
  await using home = await startGatewayHome();
  await home.request({ device: makeDevice() });
  const { code, stdout, stderr } = await home.ask(`devices approve --json --token ${home.token}`);
  expect(code).toBe(5);
  expect(stdout + stderr).not.toContain(home.token);
});
