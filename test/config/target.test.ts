import { mkdir, mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type CredentialCandidate, type CredentialPolicy, rankCredentials } from "../../src/config/credentials.ts";
import { readConfigText } from "../../src/config/file.ts";
import { statePaths } from "../../src/config/paths.ts";
import { resolveConfig } from "../../src/config/resolve.ts";
import { type Input, readSecretFile } from "../../src/config/secret-file.ts";
import { assertSafeTransport, resolveTarget } from "../../src/config/target.ts";
import type { RunningGateway, TargetChoices, TargetFlags } from "../../src/config/target-choices.ts";
import { Secret } from "../../src/secret.ts";

interface Situation {
  readonly flags?: TargetFlags;
  readonly env?: Record<string, string>;
  readonly ours?: string;
  readonly theirs?: string;
  readonly home?: string;
  readonly more?: Partial<TargetChoices>;
}

function decide({ flags = {}, env = {}, ours = "", theirs = "", home = "/nowhere", more = {} }: Situation) {
  const files = [
    readConfigText(ours, { path: "ours.json5", dialect: "toolkit", env }),
    readConfigText(theirs, { path: "theirs.json", dialect: "product", env }),
  ];
  const config = resolveConfig({ env, paths: statePaths({ env: {}, home }), files });
  return resolveTarget({ flags, env, config, ...more });
}

const used = async (situation: Situation) =>
  (await decide(situation)).credentials
    .filter((source) => source.used)
    .map(({ name, value }) => `${name}=${value.reveal()}`);

const remote =
  "{ gateway: { mode: 'remote', remote: { url: 'wss://far.example:8443', token: 'far' }, auth: { token: 'near' } } }";

/** A gateway that runs on this port, with the port for its pid. */
const on = (port: number): RunningGateway => ({ pid: port, url: { tls: false, host: "127.0.0.1", port, path: "/" } });

describe("which gateway", () => {
  test.each<[name: string, situation: Situation, url: string, gateway: string, chosenBy: string]>([
    ["this machine's by default", {}, "ws://127.0.0.1:18789/", "local", "gateway.port"],
    ["on its configured port", { ours: "{ gateway: { port: 7 } }" }, "ws://127.0.0.1:7/", "local", "gateway.port"],
    [
      "on the port of the environment",
      { env: { OPENCLAW_GATEWAY_PORT: "8" }, ours: "{ gateway: { port: 7 } }" },
      "ws://127.0.0.1:8/",
      "local",
      "gateway.port",
    ],
    [
      "with TLS when it has it",
      { ours: "{ gateway: { tls: { enabled: true } } }" },
      "wss://127.0.0.1:18789/",
      "local",
      "gateway.port",
    ],
    [
      "where it is bound",
      { ours: "{ gateway: { bind: '10.0.0.5' } }" },
      "ws://10.0.0.5:18789/",
      "local",
      "gateway.port",
    ],
    [
      "where it is bound by the older keys",
      { theirs: "{ gateway: { bind: 'custom', customBindHost: '::2' } }" },
      "ws://[::2]:18789/",
      "local",
      "gateway.port",
    ],
    [
      "on loopback when it is bound to everything",
      { ours: "{ gateway: { bind: '0.0.0.0' } }" },
      "ws://127.0.0.1:18789/",
      "local",
      "gateway.port",
    ],
    [
      "the running one when the port is free-chosen",
      { ours: "{ gateway: { port: 0 } }", more: { running: [on(9)] } },
      "ws://127.0.0.1:9/",
      "local",
      "the gateway that runs here (pid 9)",
    ],
    [
      "the one that runs when nothing of ours is on the configured port",
      { ours: "{ gateway: { port: 7 } }", more: { running: [on(9)], prefersRunning: true } },
      "ws://127.0.0.1:9/",
      "local",
      "the gateway that runs here (pid 9)",
    ],
    [
      "wherever that one listens",
      {
        more: { running: [{ pid: 9, url: { tls: true, host: "10.0.0.5", port: 9, path: "/" } }], prefersRunning: true },
      },
      "wss://10.0.0.5:9/",
      "local",
      "the gateway that runs here (pid 9)",
    ],
    [
      "with the path that is asked for",
      { flags: { contextPath: "claw" }, more: { running: [on(9)], prefersRunning: true } },
      "ws://127.0.0.1:9/claw",
      "local",
      "--context-path",
    ],
    [
      "the configured one when it runs too",
      { more: { running: [on(9), on(18789)], prefersRunning: true } },
      "ws://127.0.0.1:18789/",
      "local",
      "gateway.port",
    ],
    [
      "the configured one for who does not ask for the running one",
      { more: { running: [on(9)] } },
      "ws://127.0.0.1:18789/",
      "local",
      "gateway.port",
    ],
    [
      "the environment's port before the running one's",
      { env: { OPENCLAW_GATEWAY_PORT: "8" }, more: { running: [on(9)], prefersRunning: true } },
      "ws://127.0.0.1:8/",
      "local",
      "gateway.port",
    ],
    [
      "the environment's address before the running one's",
      { env: { OPENCLAW_GATEWAY_URL: "ws://env:1" }, more: { running: [on(9)], prefersRunning: true } },
      "ws://env:1/",
      "other",
      "OPENCLAW_GATEWAY_URL",
    ],
    [
      "a flag's port before the running one's",
      { flags: { port: 8 }, more: { running: [on(9), on(10)], prefersRunning: true } },
      "ws://127.0.0.1:8/",
      "other",
      "--port",
    ],
    [
      "the remote one in remote mode, whatever runs",
      { ours: remote, more: { running: [on(9)], prefersRunning: true } },
      "wss://far.example:8443/",
      "remote",
      "gateway.remote.url",
    ],
    ["the remote one in remote mode", { ours: remote }, "wss://far.example:8443/", "remote", "gateway.remote.url"],
    [
      "the environment's before the configured",
      { ours: remote, env: { OPENCLAW_GATEWAY_URL: "ws://env:1" } },
      "ws://env:1/",
      "other",
      "OPENCLAW_GATEWAY_URL",
    ],
    [
      "an empty variable says nothing",
      { env: { OPENCLAW_GATEWAY_URL: "" } },
      "ws://127.0.0.1:18789/",
      "local",
      "gateway.port",
    ],
    [
      "--url before the environment's",
      { flags: { url: "wss://flag" }, env: { OPENCLAW_GATEWAY_URL: "ws://env:1" } },
      "wss://flag:443/",
      "other",
      "--url",
    ],
    [
      "--host before the environment's",
      { flags: { host: "flag" }, env: { OPENCLAW_GATEWAY_URL: "ws://env:1" } },
      "ws://flag:18789/",
      "other",
      "--host",
    ],
    [
      "all parts",
      { flags: { host: "flag", port: "7", tls: true, contextPath: "claw" } },
      "wss://flag:7/claw",
      "other",
      "--host",
    ],
    ["--port alone is on this machine", { flags: { port: 7 }, ours: remote }, "ws://127.0.0.1:7/", "other", "--port"],
    ["--tls alone is this machine's", { flags: { tls: true } }, "wss://127.0.0.1:18789/", "local", "--tls"],
    [
      "the configured one, spelled out",
      { flags: { url: "ws://localhost:18789/ws" } },
      "ws://localhost:18789/ws",
      "local",
      "--url",
    ],
    [
      "the remote one, spelled out",
      { flags: { host: "FAR.example", port: 8443, tls: true }, ours: remote },
      "wss://far.example:8443/",
      "remote",
      "--host",
    ],
    [
      "the remote one without TLS is another",
      { flags: { host: "far.example", port: 8443 }, ours: remote },
      "ws://far.example:8443/",
      "other",
      "--host",
    ],
    [
      "one that is known to run here",
      { flags: { port: 9 }, more: { running: [on(9)] } },
      "ws://127.0.0.1:9/",
      "local",
      "--port",
    ],
    [
      "a remote one behind a forwarded port, in remote mode",
      { ours: "{ gateway: { mode: 'remote', remote: { url: 'ws://127.0.0.1:18789' } } }" },
      "ws://127.0.0.1:18789/",
      "remote",
      "gateway.remote.url",
    ],
    [
      "a port 0 that nobody asked for is no hindrance",
      { flags: { url: "ws://x:1" }, ours: "{ gateway: { port: 0 } }" },
      "ws://x:1/",
      "other",
      "--url",
    ],
  ])("%s", async (_name, situation, url, gateway, chosenBy) => {
    expect(await decide(situation)).toMatchObject({ url, gateway, chosenBy });
  });

  test.each<[name: string, situation: Situation, says: RegExp]>([
    ["a URL and parts of one", { flags: { url: "ws://a:1", port: 1 } }, /--url and --port/],
    ["remote mode without a URL", { ours: "{ gateway: { mode: 'remote' } }" }, /gateway.remote.url is not set/],
    [
      "several that run, and none on the configured port",
      { more: { running: [on(9), on(10)], prefersRunning: true } },
      /ws:\/\/127\.0\.0\.1:9 \(pid 9\), ws:\/\/127\.0\.0\.1:10 \(pid 10\)/,
    ],
    ["port 0 and nothing running", { ours: "{ gateway: { port: 0 } }" }, /gateway.port 0 is not a port/],
    ["a bad port", { flags: { port: "x" } }, /--port "x"/],
    [
      "a bad URL in the environment",
      { env: { OPENCLAW_GATEWAY_URL: "http://x" } },
      /OPENCLAW_GATEWAY_URL begins with http/,
    ],
    ["a pin without TLS", { flags: { url: "ws://x:1", tlsFingerprint: "ab".repeat(32) } }, /--tls-fingerprint needs/],
    [
      "a configured pin without TLS",
      { ours: `{ gateway: { mode: 'remote', remote: { url: 'ws://x:1', tlsFingerprint: '${"ab".repeat(32)}' } } }` },
      /gateway.remote.tlsFingerprint needs/,
    ],
    ["first sight without TLS", { flags: { url: "ws://x:1", tlsAcceptNew: true } }, /--tls-accept-new needs/],
    ["a pin that is none", { flags: { url: "wss://x", tlsFingerprint: "ab" } }, /--tls-fingerprint is not/],
    ["a token twice", { flags: { token: "a", tokenFile: "b" } }, /--token and --token-file/],
    ["an empty token", { flags: { token: "" } }, /--token is empty/],
    ["a token of several lines", { flags: { token: "a\nb" } }, /--token has characters/],
    ["a token beyond ASCII", { env: { OPENCLAW_GATEWAY_TOKEN: "tökén" } }, /OPENCLAW_GATEWAY_TOKEN has characters/],
    ["a header and a secret from one input", { flags: { tokenFile: "-", headerFile: "-" } }, /cannot both read/],
    ["an empty file of headers", { flags: { headerFile: "/dev/null" } }, /--header-file in \/dev\/null is empty/],
    ["two secrets from one input", { flags: { tokenFile: "-", passwordFile: "-" } }, /cannot both read standard input/],
    ["a header of the connection's own", { flags: { header: ["Host: x"] } }, /--header "Host"/],
  ])("%s is `usage`", async (_name, situation, says) => {
    await expect(decide(situation)).rejects.toMatchObject({ code: "usage", message: expect.stringMatching(says) });
  });

  test("the pin is the flag's, else the remote gateway's own, and for no other gateway", async () => {
    const [ab, cd] = ["ab".repeat(32), "cd".repeat(32)];
    const ours = `{ gateway: { mode: 'remote', remote: { url: 'wss://far', tlsFingerprint: '${ab.toUpperCase()}' } } }`;
    expect((await decide({ ours })).tlsFingerprint).toBe(ab);
    expect((await decide({ ours, flags: { tlsFingerprint: cd } })).tlsFingerprint).toBe(cd);
    expect(await decide({ ours, flags: { url: "wss://other" } })).not.toHaveProperty("tlsFingerprint");
    expect(await decide({ ours })).toMatchObject({ pinnedBy: "gateway.remote.tlsFingerprint", tlsAcceptNew: false });
    const flags = { tlsFingerprint: cd, tlsAcceptNew: true };
    expect(await decide({ ours, flags })).toMatchObject({ pinnedBy: "--tls-fingerprint", tlsAcceptNew: true });
  });
});

describe("which credentials", () => {
  const both = "{ gateway: { auth: { token: 'near', password: 'near pass' } } }";
  test.each<[name: string, situation: Situation, want: string[]]>([
    ["none, when there is none", {}, []],
    [
      "none that could not be sent, where it is not to be sent anyway",
      { ours: "{ gateway: { auth: { token: 'tökén' } } }", flags: { url: "wss://x" } },
      [],
    ],
    ["the local gateway's, for it", { ours: both }, ["gateway.auth.token=near", "gateway.auth.password=near pass"]],
    [
      "only the one its mode asks for",
      { ours: both, theirs: "{ gateway: { auth: { mode: 'password' } } }" },
      ["gateway.auth.password=near pass"],
    ],
    [
      "ours before the product's",
      { ours: "{ gateway: { auth: { token: 'a' } } }", theirs: "{ gateway: { auth: { token: 'b' } } }" },
      ["gateway.auth.token=a"],
    ],
    [
      "the product's, when ours is silent",
      { theirs: "{ gateway: { auth: { token: 'b' } } }" },
      ["gateway.auth.token=b"],
    ],
    ["the remote gateway's, for it", { ours: remote }, ["gateway.remote.token=far"]],
    [
      "the local one's in remote mode, when it is named",
      { ours: remote, flags: { port: 18789 } },
      ["gateway.auth.token=near"],
    ],
    ["nobody's, for another gateway", { ours: remote, flags: { url: "wss://evil.example" } }, []],
    ["nobody's, for another port of this machine", { ours: both, flags: { port: 7 } }, []],
    [
      "nobody's, for another path of the remote host",
      { ours: remote, flags: { url: "wss://far.example:8443/other" } },
      [],
    ],
    [
      "nobody's, for a URL from the environment",
      { ours: remote, env: { OPENCLAW_GATEWAY_URL: "wss://evil.example" } },
      [],
    ],
    [
      "the environment's, for any",
      { env: { OPENCLAW_GATEWAY_TOKEN: "env" }, ours: remote, flags: { url: "wss://other" } },
      ["OPENCLAW_GATEWAY_TOKEN=env"],
    ],
    [
      "the environment's before the file's",
      { env: { OPENCLAW_GATEWAY_PASSWORD: "env" }, ours: both },
      ["OPENCLAW_GATEWAY_PASSWORD=env"],
    ],
    [
      "an empty variable says nothing",
      { env: { OPENCLAW_GATEWAY_TOKEN: "" }, ours: both },
      ["gateway.auth.token=near", "gateway.auth.password=near pass"],
    ],
    [
      "the flag's before all",
      { flags: { password: "flag" }, env: { OPENCLAW_GATEWAY_TOKEN: "env" }, ours: both },
      ["--password=flag"],
    ],
    ["both flags", { flags: { token: "a", password: "pässword" } }, ["--token=a", "--password=pässword"]],
  ])("%s", async (_name, situation, want) => {
    expect(await used(situation)).toEqual(want);
  });

  test("a stored device token stands between the environment and the files, and is looked up by origin", async () => {
    const asked: string[] = [];
    const deviceToken = async (origin: string) => {
      asked.push(origin);
      return { value: new Secret("device"), path: "device-tokens.json" };
    };
    expect(await used({ ours: both, more: { deviceToken } })).toEqual(["this device's token=device"]);
    expect(await used({ env: { OPENCLAW_GATEWAY_TOKEN: "env" }, more: { deviceToken } })).toEqual([
      "OPENCLAW_GATEWAY_TOKEN=env",
    ]);
    expect(await used({ flags: { url: "wss://x/claw" }, more: { deviceToken } })).toEqual([
      "this device's token=device",
    ]);
    expect(asked).toEqual(["ws://127.0.0.1:18789", "ws://127.0.0.1:18789", "wss://x:443"]);
  });

  test("every source is kept, with the reason why it stays behind, and none is printed", async () => {
    const { credentials } = await decide({
      flags: { token: "hunter2-flag" },
      env: { OPENCLAW_GATEWAY_TOKEN: "hunter2-env" },
      ours: remote,
    });
    expect(
      credentials.map(({ kind, from, name, path, used: isUsed, why }) => ({ kind, from, name, path, isUsed, why })),
    ).toEqual([
      { kind: "token", from: "flag", name: "--token", path: undefined, isUsed: true, why: undefined },
      {
        kind: "token",
        from: "env",
        name: "OPENCLAW_GATEWAY_TOKEN",
        path: undefined,
        isUsed: false,
        why: "--token comes first",
      },
      {
        kind: "token",
        from: "toolkit-config",
        name: "gateway.remote.token",
        path: "ours.json5",
        isUsed: false,
        why: "--token comes first",
      },
      {
        kind: "token",
        from: "toolkit-config",
        name: "gateway.auth.token",
        path: "ours.json5",
        isUsed: false,
        why: "belongs to this machine's gateway",
      },
    ]);
    expect(JSON.stringify(credentials)).not.toMatch(/hunter2|near|far"/);
  });

  test("the token our gateway made for itself is for it alone, and only while nothing is configured", async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), "openclaw-target-"));
    const home = directory.path;
    expect(await used({ home })).toEqual([]);
    await mkdir(join(home, ".openclaw", "toolkit"), { recursive: true });
    const path = join(home, ".openclaw", "toolkit", "gateway-token");
    await writeFile(path, "made\n");
    expect(await used({ home })).toEqual(["the gateway's token file=made"]);
    expect(await used({ home, ours: "{ gateway: { auth: { password: 'p' } } }" })).toEqual(["gateway.auth.password=p"]);
    expect((await decide({ home, flags: { url: "wss://x" } })).credentials).toEqual([]);
    await writeFile(path, "");
    await expect(decide({ home })).rejects.toMatchObject({ code: "usage", message: expect.stringContaining(path) });
  });

  test.each<
    [name: string, policy: CredentialPolicy, candidates: Partial<CredentialCandidate>[], want: (string | undefined)[]]
  >([
    ["nothing is decided about nothing", { gateway: "local" }, [], []],
    [
      "mode none hinders no credential",
      { gateway: "local", localAuthMode: "none" },
      [{ belongsTo: "local" }],
      [undefined],
    ],
    [
      "a mode says nothing about flags",
      { gateway: "local", localAuthMode: "password" },
      [{ from: "flag" }],
      [undefined],
    ],
    [
      "a mode says nothing about the remote gateway",
      { gateway: "remote", localAuthMode: "password" },
      [{ belongsTo: "remote" }],
      [undefined],
    ],
    [
      "mode token leaves a password behind",
      { gateway: "local", localAuthMode: "token" },
      [{ kind: "password", belongsTo: "local" }],
      ["gateway.auth.mode is token"],
    ],
    [
      "a misfit outranks nobody",
      { gateway: "remote" },
      [{ belongsTo: "local" }, { belongsTo: "remote" }],
      ["belongs to this machine's gateway", undefined],
    ],
  ])("%s", (_name, policy, candidates, want) => {
    const full = candidates.map(
      (candidate): CredentialCandidate => ({
        kind: "token",
        from: "toolkit-config",
        name: "it",
        value: new Secret("x"),
        ...candidate,
      }),
    );
    expect(rankCredentials(full, policy).map(({ why }) => why)).toEqual(want);
  });
});

describe("headers", () => {
  const names = async (situation: Situation) =>
    (await decide(situation)).headers.map(([name, value]) => `${name}=${value.reveal()}`);
  const ours = "{ headers: { 'X-File': 'file', 'X-Both': 'file' } }";

  test("flags beat the environment, the environment beats the file", async () => {
    const env = { OPENCLAW_GATEWAY_HEADERS: "X-Env: env\nX-Both: env" };
    expect(await names({ ours, env, flags: { header: ["x-env: flag"] } })).toEqual([
      "x-env=flag",
      "X-Both=env",
      "X-File=file",
    ]);
  });

  test("a file of a flag has one a line, behind those of flags and before the environment", async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), "openclaw-headers-"));
    const headerFile = join(directory.path, "file");
    await writeFile(headerFile, "X-One: file\r\n\n  X-Two: file\nX-Three: file\n");
    const env = { OPENCLAW_GATEWAY_HEADERS: "X-Two: env\nX-Four: env" };
    expect(await names({ env, flags: { header: ["X-One: flag"], headerFile } })).toEqual([
      "X-One=flag",
      "X-Two=file",
      "X-Three=file",
      "X-Four=env",
    ]);
    await writeFile(headerFile, "X-One: 1\nHost: hunter2\n");
    await expect(names({ flags: { headerFile } })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(/\/[^/]+:2: the header "Host" (?!.*hunter2)/u),
    });
  });

  test("those of the file go to the gateway it configures, and to no other", async () => {
    expect(await names({ ours, flags: { url: "wss://other" } })).toEqual([]);
    const far = "{ headers: { 'X-File': 'file' }, gateway: { mode: 'remote', remote: { url: 'wss://far' } } }";
    expect(await names({ ours: far })).toEqual(["X-File=file"]);
    expect(await names({ ours: far, flags: { port: 18789 } })).toEqual([]);
  });

  test("Authorization is ours to send unless told not to", async () => {
    expect(await decide({})).toMatchObject({ sendAuthHeader: true });
    expect(await decide({ flags: { noAuthHeader: true } })).toMatchObject({ sendAuthHeader: false });
  });
});

describe("safe transport", () => {
  test.each<[name: string, situation: Situation]>([
    ["loopback", { flags: { url: "ws://localhost:1", token: "x" } }],
    ["another loopback address", { flags: { url: "ws://[::1]:1", header: ["X: 1"] } }],
    ["TLS", { flags: { url: "wss://far", token: "x", header: ["X: 1"] } }],
    ["nothing to lose", { flags: { url: "ws://far:1" }, ours: remote }],
    ["a network the user vouches for", { flags: { url: "ws://far:1", token: "x", insecureWs: true } }],
  ])("%s is safe", async (_name, situation) => {
    const target = await decide(situation);
    expect(() => assertSafeTransport(target)).not.toThrow();
  });

  test.each<[name: string, situation: Situation]>([
    ["a token", { flags: { url: "ws://far:1", token: "x" } }],
    ["a password", { flags: { url: "ws://10.0.0.1:1", password: "x" } }],
    ["a token of the environment", { flags: { url: "ws://far:1" }, env: { OPENCLAW_GATEWAY_TOKEN: "x" } }],
    ["a header", { flags: { url: "ws://far:1", header: ["X: 1"] } }],
    ["a token, to a name that only begins like loopback,", { flags: { url: "ws://localhost.example:1", token: "x" } }],
  ])("%s in the clear is not", async (_name, situation) => {
    const target = await decide(situation);
    expect(() => assertSafeTransport(target)).toThrow(
      expect.objectContaining({ code: "insecure-transport", hint: expect.stringContaining("--insecure-ws") }),
    );
  });
});

describe("secret files", () => {
  async function* input(...chunks: (string | Uint8Array)[]) {
    yield* chunks;
  }

  test.each([
    ["secret\n", "secret"],
    ["secret\r\n", "secret"],
    ["secret", "secret"],
    ["secret\n\n", "secret\n"],
    [" secret ", " secret "],
  ])("%j holds %j", async (text, secret) => {
    await using directory = await mkdtempDisposable(join(tmpdir(), "openclaw-secret-"));
    const path = join(directory.path, "file");
    await writeFile(path, text);
    expect((await readSecretFile(path, undefined)).reveal()).toBe(secret);
    expect((await readSecretFile("-", input(text))).reveal()).toBe(secret);
  });

  test("standard input may come in pieces, also of one letter", async () => {
    const bytes = Buffer.from("pässword\n");
    expect((await readSecretFile("-", input(bytes.subarray(0, 2), bytes.subarray(2)))).reveal()).toBe("pässword");
  });

  test.each<[name: string, path: string, stdin: Input | undefined, says: RegExp]>([
    ["an absent file", "/nowhere/secret", undefined, /--token-file in \/nowhere\/secret \(ENOENT\)/],
    ["a directory", "/", undefined, /EISDIR/],
    ["no input", "-", undefined, /no standard input/],
    ["empty input", "-", input(), /is empty/],
    ["a line break alone", "-", input("\n"), /is empty/],
    ["endless input", "-", endless(), /too long/],
  ])("%s is `usage`", async (_name, path, stdin, says) => {
    await expect(readSecretFile(path, stdin, "--token-file")).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(says),
    });
  });

  async function* endless() {
    for (;;) yield "x".repeat(1000);
  }
});
