/** `tunnel drill`: the owner of a running tunnel breaks a second connection, and the first one does not notice. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { listAt } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";
import { startSshd } from "../support/sshd.ts";
import type { Sshd } from "../support/sshd.ts";

let sshd: Sshd;
beforeAll(async () => {
  // Without this user's start-up files, which may take their time on the machine that runs this.
  sshd = await startSshd({ config: ["SetEnv SHLVL=5"] });
});
afterAll(async () => sshd[Symbol.asyncDispose]());

const open = (words = "") =>
  `tunnel open ${sshd.user}@127.0.0.1:${sshd.port} -i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile} -L 0:127.0.0.1:1 --keepalive 200ms --json ${words}`;

test("prints what each fault cost, as data and as a table", async () => {
  using home = new CliHome();
  await using tunnel = home.start(open("--name pantry"));
  await tunnel.event("ready");
  const drilled = await home.run("tunnel drill pantry --json");
  expect(drilled).toMatchObject({ code: 0, json: { ok: true, name: "pantry" } });
  expect(listAt(drilled.json, "drills")).toEqual(
    ["cut", "freeze", "half-open", "restart"].map((fault) => ({
      fault,
      noticedMs: expect.any(Number),
      recoveredMs: expect.any(Number),
      streams: 4,
      streamsLost: 4,
      bytesLost: expect.any(Number),
    })),
  );
  const shown = await home.run("tunnel drill pantry --fault cut");
  expect(shown).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^FAULT +NOTICED.*\ncut +\d+ ms +\d+ ms +4 +4 +\d+\n$/u),
  });
  expect(tunnel.events.items.map(({ event }) => event)).not.toContain("disconnected");
});

test("one drill at a time", async () => {
  using home = new CliHome();
  await using tunnel = home.start(open("--name pantry"));
  await tunnel.event("ready");
  const both = await Promise.all([1, 2].map(() => home.run("tunnel drill pantry --fault restart --json")));
  expect(both.map(({ code }) => code).toSorted((a, b) => a - b)).toEqual([0, 9]);
});

test.each([
  ["a tunnel that does not run", "tunnel drill nobody", 9, "not-found"],
  ["a fault that there is not", "tunnel drill nobody --fault flood", 2, "usage"],
])("%s is told", async (_name, line, code, error) => {
  using home = new CliHome();
  expect(await home.run(`${line} --json`)).toMatchObject({ code, json: { error: { code: error } } });
});

test("a server that is gone ends it with exit code 8", async () => {
  using home = new CliHome();
  const short = await startSshd();
  await using tunnel = home.start(
    `tunnel open ${short.user}@127.0.0.1:${short.port} -i ${short.identityFile} --known-hosts ${short.knownHostsFile} -L 0:127.0.0.1:1 --name gone --json`,
  );
  await tunnel.event("ready");
  await short.kill();
  expect(await home.run("tunnel drill gone --json")).toMatchObject({ code: 8, json: { error: { code: "ssh" } } });
  await tunnel.stop();
  await short[Symbol.asyncDispose]();
});
