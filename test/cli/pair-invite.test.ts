/** Making invites, looking at them and joining with them, as a person sees it. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { encodeSetupCode, readSetupCode } from "../../src/protocol/setup-code.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { at, listAt, textAt } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";
import { impatient } from "../support/world.ts";
import { type GatewayHome, startGatewayHome, succeed } from "./world.ts";

let home: GatewayHome;
beforeAll(async () => {
  home = await startGatewayHome();
});
afterAll(() => home[Symbol.asyncDispose]());

const invite = async (flags = "") =>
  (await succeed(home.ask(`pair invite --json --public-url ${home.url} ${flags}`))).json;
const codeOf = async (flags = "") => textAt(await invite(flags), "code");

/** A code that no gateway has made. */
const foreignCode = (parts: object = {}) =>
  encodeSetupCode({
    url: home.url,
    bootstrapToken: "x".repeat(43),
    expiresAtMs: systemRuntime.now() + 600_000,
    ...parts,
  });

describe("pair invite", () => {
  test("prints a code, its link, where it leads and until when, and nothing on the side", async () => {
    const { json, stderr } = await succeed(home.ask(`pair invite --json --public-url ${home.url} --ttl 1h`));
    const code = textAt(json, "code");
    expect(json).toEqual({
      ok: true,
      code,
      link: `oc-pair://${code}`,
      url: home.url,
      expiresAtMs: expect.any(Number),
      inviteId: expect.any(String),
      role: "node",
      digest: expect.stringMatching(/^sha256:[0-9a-f]{8}$/u),
    });
    expect(Number(at(json, "expiresAtMs")) - systemRuntime.now()).toBeGreaterThan(3_500_000);
    expect(stderr).toBe("");
  });

  test("says to a person what to do with it, and draws it for a camera at a terminal only", async () => {
    const piped = await succeed(home.ask(`pair invite --public-url ${home.url}`));
    expect(piped.stdout).toMatch(
      /^Invite for one node, good once for 10 min\n {2}gateway {2}ws:\/\/127\.0\.0\.1:\d+\n/u,
    );
    expect(piped.stdout).toContain("openclaw pair join");
    expect(piped.stdout).not.toMatch(/[█▀▄]/u);
    const seen = await home.run(`pair invite --port ${home.port} --public-url ${home.url}`, { columns: 120 });
    expect(seen.stdout).toMatch(/[█▀▄]{3}/u);
    const narrow = await home.run(`pair invite --port ${home.port} --public-url ${home.url}`, { columns: 30 });
    expect(narrow.stdout).not.toMatch(/[█▀▄]/u);
  });

  test("refuses an address that leads every other machine to itself, unless it was given outright", async () => {
    const { code, json } = await home.ask("pair invite --json");
    expect({ code, json }).toMatchObject({
      code: 2,
      json: { error: { code: "usage", hint: expect.stringContaining("--public-url") } },
    });
    const outright = await succeed(home.run(`pair invite --json --url ${home.url}`));
    expect(outright.json).toMatchObject({ url: home.url });
  });

  test("warns of an address at which its secret can be read on the way", async () => {
    const { json, stderr } = await succeed(home.ask("pair invite --json --public-url ws://192.0.2.1:18789"));
    expect(json).toMatchObject({ url: "ws://192.0.2.1:18789" });
    expect(stderr).toMatch(/^warning: without TLS/u);
  });

  test.each([
    ["--role operator", "no invites for the role"],
    ["--ttl 30d", "--ttl"],
    ["--ttl soon", "duration"],
    ["--for abcdef", "--for is not a whole device id"],
    ["--public-url https://gateway.example", "https://"],
    ["--public-url wss://u:p@gateway.example", "user name or password"],
  ])("with %s is exit 2", async (flags, says) => {
    const { code, json } = await home.ask(`pair invite --json --public-url ${home.url} ${flags}`);
    expect(code).toBe(2);
    expect(textAt(json, "error", "message")).toContain(says);
  });
});

describe("pair verify", () => {
  test("shows what is in a code without asking anybody", async () => {
    using elsewhere = new CliHome();
    const pin = "ab".repeat(32);
    const code = foreignCode({ url: "wss://nobody.invalid:1", urls: ["wss://b.invalid"], tlsFingerprint: pin });
    const { json } = await succeed(elsewhere.run("pair verify - --json", { stdin: `oc-pair://${code}\n` }));
    expect(json).toEqual({
      ok: true,
      url: "wss://nobody.invalid:1",
      urls: ["wss://nobody.invalid:1", "wss://b.invalid"],
      expiresAtMs: expect.any(Number),
      tlsFingerprint: pin,
      digest: expect.stringMatching(/^sha256:/u),
    });
    const { stdout } = await succeed(elsewhere.run("pair verify -", { stdin: code }));
    expect(stdout).toContain(pin);
    expect(stdout).not.toContain("xxxxx");
  });

  test("asks the gateway with --online, which uses nothing up and makes no identity", async () => {
    using elsewhere = new CliHome();
    const made = await invite("--display-name cellar --command system.which");
    const stdin = textAt(made, "link");
    for (let time = 0; time < 2; time++) {
      const { json } = await succeed(elsewhere.run("pair verify - --online --json", { stdin }));
      expect(json).toMatchObject({ invite: { state: "open", displayName: "cellar", commands: ["system.which"] } });
    }
    expect(existsSync(elsewhere.path(".openclaw", "toolkit", "identity"))).toBe(false);
  });

  test("says of one for another key that it is", async () => {
    using elsewhere = new CliHome();
    await succeed(elsewhere.run("identity create"));
    const stdin = await codeOf(`--for ${"a".repeat(64)}`);
    const { code, json } = await elsewhere.run("pair verify - --online --json", { stdin });
    expect({ code, json }).toMatchObject({ code: 4, json: { error: { code: "bootstrap-invalid" } } });
    expect(textAt(json, "error", "message")).toContain("for another key (device aaaaaaaa)");
  });
});

describe("pair join", () => {
  test("pairs this machine in one go, and a later node run needs neither code nor token", async () => {
    using node = new CliHome();
    writeFileSync(node.path("invite.txt"), await codeOf("--display-name kitchen"));
    const joined = await succeed(node.run(`pair join --code-file ${node.path("invite.txt")} --json`));
    expect(joined.json).toMatchObject({
      ok: true,
      deviceId: expect.stringMatching(/^[0-9a-f]{64}$/u),
      commands: expect.arrayContaining(["system.which"]),
    });
    expect(joined.stderr).toBe("");
    const nodes = (await succeed(home.ask("nodes list --json"))).json;
    expect(listAt(nodes, "nodes")).toContainEqual(
      expect.objectContaining({ displayName: "kitchen", connected: false }),
    );
    await using running = node.start("node run --json", { runtime: impatient(systemRuntime) });
    await running.event("ready");
    const asked = await home.ask(`nodes invoke kitchen system.which --params '{"bins":["sh"]}' --json`);
    expect(asked.json).toMatchObject({ ok: true });
  });

  test("takes the first address of the code at which somebody listens", async () => {
    using node = new CliHome();
    const read = readSetupCode(await codeOf());
    const secret = "code" in read ? read.code.bootstrapToken : "";
    const stdin = foreignCode({ url: "ws://127.0.0.1:9", urls: [home.url], bootstrapToken: secret });
    expect((await succeed(node.run("pair join - --json", { stdin }))).json).toMatchObject({ url: `${home.url}/` });
  });

  test("again with the same code is no mistake: the machine's own token is used", async () => {
    using node = new CliHome();
    const stdin = await codeOf();
    await succeed(node.run("pair join - --json", { stdin }));
    expect((await node.run("pair join - --json", { stdin })).code).toBe(0);
  });

  test("a dead code says when it was used and by whom, with exit 4", async () => {
    using first = new CliHome();
    using second = new CliHome();
    const stdin = await codeOf("--display-name attic");
    await succeed(first.run("pair join - --json", { stdin }));
    const { code, json } = await second.run("pair join - --json", { stdin });
    expect({ code, json }).toMatchObject({
      code: 4,
      json: { error: { code: "bootstrap-invalid", details: { inviteState: "used", usedByName: "attic" } } },
    });
    expect(textAt(json, "error", "message")).toMatch(/the invite was used at \S+Z by attic \(device [0-9a-f]{8}\)/u);
    expect(textAt(json, "error", "hint")).toContain("pair invite");
  });

  test("an expired one is said before anything is dialled", async () => {
    using node = new CliHome();
    const code = foreignCode({ url: "ws://127.0.0.1:9", expiresAtMs: systemRuntime.now() - 180_000 });
    const { code: exit, json } = await node.run("pair join - --json", { stdin: code });
    expect({ exit, json }).toMatchObject({ exit: 4, json: { error: { code: "bootstrap-invalid" } } });
    expect(textAt(json, "error", "message")).toBe("the code expired 3 min ago, by this machine's clock");
    expect(existsSync(node.toolkitDir)).toBe(false);
  });

  test.each<[name: string, words: string, stdin: () => string, exit: number, says: string]>([
    ["no code", "pair join --json", () => "", 2, "the code is missing"],
    ["half a code", "pair join - --json", () => foreignCode().slice(0, 50), 2, "damaged"],
    ["a token beside the code", "pair join - --token-file x --json", foreignCode, 2, "stands in for token"],
    ["nobody there", "pair join - --json", () => foreignCode({ url: "ws://127.0.0.1:9" }), 3, "127.0.0.1:9"],
    ["another gateway's code", "pair join - --json", foreignCode, 4, "not one of this gateway"],
    ["a network without TLS", "pair join - --json", () => foreignCode({ url: "ws://192.0.2.1:1" }), 4, "unencrypted"],
  ])("with %s fails at once", async (_name, words, stdin, exit, says) => {
    using node = new CliHome();
    const { code, json } = await node.run(words, { stdin: stdin() });
    expect({ code, message: at(json, "error", "message") }).toEqual({
      code: exit,
      message: expect.stringContaining(says),
    });
  });

  test("warns of a code in argv, and never shows its secret", async () => {
    using node = new CliHome();
    const { stderr, stdout } = await succeed(node.run(["pair", "join", await codeOf()]));
    expect(stderr).toContain("--code-file");
    expect(stdout).toContain("openclaw node run");
  });
});

describe("node run --pair", () => {
  test("joins, serves, and shows the invite no more once it has a token of its own", async () => {
    using node = new CliHome();
    const code = await codeOf("--display-name garage");
    await using running = node.start("node run --pair-file - --json", { stdin: code });
    await running.event("ready");
    expect(running.events.items.filter(({ event }) => event === "pairing-required")).toEqual([]);
    await succeed(home.ask("devices remove garage --json"));
    const { code: exit, stderr } = await running.ended;
    expect(exit).toBe(4);
    expect(stderr).not.toContain("invite");
  });

  test("takes its own address over the code's, for another way to the same gateway", async () => {
    using node = new CliHome();
    const code = await codeOf();
    await using running = node.start(`node run --pair-file - --port ${home.tunnelPort} --json`, { stdin: code });
    expect(await running.event("connecting")).toMatchObject({ url: `ws://127.0.0.1:${home.tunnelPort}/` });
    await running.event("ready");
  });

  test("started again with the same code after its end, as a service is, it uses its own token", async () => {
    using node = new CliHome();
    const stdin = await codeOf("--ttl 1s");
    await succeed(node.run("pair join - --json", { stdin }));
    const later = { ...systemRuntime, now: () => systemRuntime.now() + 60_000 };
    await using running = node.start("node run --pair-file - --json", { stdin, runtime: later });
    await running.event("ready");
    using stranger = new CliHome();
    const { code } = await stranger.run("node run --pair-file -", { stdin, runtime: later });
    expect(code).toBe(4);
  });

  test("ends with exit 4 and the reason when the code is dead", async () => {
    using node = new CliHome();
    const made = await invite();
    await succeed(home.ask(`pair withdraw ${textAt(made, "inviteId")} --json`));
    const { code, stderr } = await node.run("node run --pair-file -", { stdin: textAt(made, "code") });
    expect(code).toBe(4);
    expect(stderr).toContain("the invite was withdrawn at");
  });

  test("a gateway named outright, in a flag or the environment, comes before the one that was joined", async () => {
    using node = new CliHome();
    await succeed(node.run("pair join - --json", { stdin: await codeOf() }));
    const elsewhere = "ws://127.0.0.1:9";
    for (const [flags, env] of [
      [`--url ${elsewhere}`, {}],
      ["", { OPENCLAW_GATEWAY_URL: elsewhere }],
    ] as const) {
      await using running = node.start(`node run --json ${flags}`, { env });
      expect(await running.event("connecting")).toMatchObject({ url: `${elsewhere}/` });
    }
    const kept: unknown = JSON.parse(readFileSync(node.path(".openclaw", "toolkit", "node.json"), "utf8"));
    expect(kept).toMatchObject({ version: 1, nodeId: expect.any(String), gateway: { url: `${home.url}/` } });
  });
});

test("pair invites lists them with what became of them, and pair withdraw takes one back", async () => {
  const made = await invite("--display-name shed");
  const id = textAt(made, "inviteId");
  expect((await home.ask(`pair withdraw ${id.slice(0, 8)} --json`)).json).toMatchObject({ ok: true, inviteId: id });
  const { json } = await succeed(home.ask("pair invites --json"));
  expect(listAt(json, "invites")).toContainEqual(
    expect.objectContaining({ inviteId: id, state: "withdrawn", displayName: "shed" }),
  );
  const { stdout } = await succeed(home.ask("pair invites"));
  expect(stdout).toMatch(/^INVITE +STATE +NAME/u);
  expect(await home.ask(`pair withdraw ${id} --json`)).toMatchObject({
    code: 9,
    json: { error: { code: "conflict" } },
  });
  expect(await home.ask("pair withdraw nothing-like-it --json")).toMatchObject({
    code: 9,
    json: { error: { code: "not-found" } },
  });
});
