/**
 * A hundred thousand upgrades and connects made of chance: nothing throws, and nobody gets in whom a plain reading of auth.md keeps out. A
 * part of them goes over real sockets, as bytes, to a gateway that has to be well afterwards.
 */
import { connect as dial } from "node:net";
import { expect, test } from "vitest";
import { readPeer } from "../../src/gateway/arrival/peer.ts";
import { AddressList } from "../../src/gateway/arrival/address-list.ts";
import { type AuthMode, type AuthPolicy, decideAuth } from "../../src/pairing/decide-auth.ts";
import { decidePairing } from "../../src/pairing/decide-pairing.ts";
import { readConnectParams } from "../../src/protocol/handshake.ts";
import { Secret } from "../../src/secret.ts";
import { startGateway } from "../support/world.ts";
import { type Shown, whoLetsIn } from "./naive-model.ts";

const rounds = 100_000;
const overSockets = 1_000;
const seed = 20_261_121;

/** Numbers in [0, 1) that are the same in every run (mulberry32). */
function chance(from: number): () => number {
  let state = from;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Dice {
  readonly #next: () => number;
  constructor(from: number) {
    this.#next = chance(from);
  }

  below(count: number): number {
    return Math.floor(this.#next() * count);
  }

  one<T>(options: readonly T[]): T {
    const found = options[this.below(options.length)];
    if (found === undefined && !options.includes(found as T)) throw new Error("nothing to choose from");
    return found as T;
  }

  often(share: number): boolean {
    return this.#next() < share;
  }

  /** Text of all kinds, also such as no decent program sends. */
  text(): string {
    const length = this.below(12);
    return Array.from({ length }, () => String.fromCodePoint(this.below(this.often(0.2) ? 0x2fff : 0x7f))).join("");
  }

  /** Any JSON value. */
  value(depth = 0): unknown {
    switch (this.below(depth > 2 ? 5 : 7)) {
      case 0:
        return null;
      case 1:
        return this.often(0.5);
      case 2:
        return this.below(1e9) - 5e8;
      case 3:
      case 4:
        return this.text();
      case 5:
        return Array.from({ length: this.below(4) }, () => this.value(depth + 1));
      default:
        return Object.fromEntries(Array.from({ length: this.below(4) }, () => [this.text(), this.value(depth + 1)]));
    }
  }
}

const addresses = [
  "127.0.0.1",
  "::1",
  "::ffff:127.0.0.1",
  "10.0.0.5",
  "::ffff:10.0.0.5",
  "10.9.9.9",
  "192.0.2.1",
  "2001:db8::1",
  "",
];
const proxies = new AddressList(["127.0.0.1", "10.0.0.0/24"]);
const ownPort = 18_789;

interface Header {
  readonly name: string;
  readonly value: string;
}

function randomHeaders(dice: Dice): readonly Header[] {
  const choices: readonly (() => Header)[] = [
    () => ({
      name: "Host",
      value: dice.one([
        "127.0.0.1:18789",
        "localhost:18789",
        "127.0.0.1:1",
        "gateway.example",
        "[::1]:18789",
        dice.text(),
      ]),
    }),
    () => ({
      name: dice.one(["X-User", "x-user", "X-USER"]),
      value: dice.one(["me@example.com", "mallory@example.com", "", " ", dice.text()]),
    }),
    () => ({ name: "X_User", value: "me@example.com" }),
    () => ({ name: "X-Proof", value: dice.one(["yes", "", dice.text()]) }),
    () => ({
      name: "X-Forwarded-For",
      value: dice.one(["10.0.0.9", "192.0.2.7, 10.0.0.5", "garbage", ",,,", "100.64.1.2", dice.text()]),
    }),
    () => ({
      name: "Origin",
      value: dice.one(["https://claw.example.com", "http://127.0.0.1:18789", "null", dice.text()]),
    }),
    () => ({ name: "Tailscale-User-Login", value: dice.one(["me@example.com", dice.text()]) }),
    () => ({ name: "Via", value: "1.1 somebody" }),
    () => ({ name: dice.text().replaceAll(/[^\w-]/gu, "") || "x", value: dice.text() }),
  ];
  return Array.from({ length: dice.below(7) }, () => dice.one(choices)());
}

/** What Node.js makes of them: names in lower case, repeated ones joined. */
function requestOf(address: string, headers: readonly Header[]) {
  const joined: Record<string, string> = {};
  for (const { name, value } of headers) {
    const key = name.toLowerCase();
    joined[key] = key in joined && key !== "host" ? `${joined[key]}, ${value}` : (joined[key] ?? value);
  }
  const rawHeaders = headers.flatMap(({ name, value }) => [name, value]);
  return { socket: { remoteAddress: address, remotePort: 5 }, headers: joined, rawHeaders };
}

/** Section 3 of auth.md, read plainly: the user whom a trusted proxy vouches for. */
function plainUser(
  address: string,
  headers: readonly Header[],
  allowLoopback: boolean | undefined,
): string | undefined {
  const plain = address.replace("::ffff:", "");
  const isTrusted = plain === "127.0.0.1" || plain.startsWith("10.0.0.");
  if (!isTrusted) return undefined;
  if (plain === "127.0.0.1" && allowLoopback === false) return undefined;
  const valuesOf = (name: string) =>
    headers.filter((one) => one.name.toLowerCase() === name).map(({ value }) => value.trim());
  if (valuesOf("x-proof").filter((value) => value !== "").length !== 1) return undefined;
  const users = valuesOf("x-user");
  return users.length === 1 && users[0] === "me@example.com" ? users[0] : undefined;
}

const credentials: readonly { readonly auth: Record<string, string>; readonly shows: readonly Shown[] }[] = [
  { auth: {}, shows: [] },
  { auth: { token: "the-token" }, shows: ["the token"] },
  { auth: { password: "the-password" }, shows: ["the password"] },
  { auth: { token: "the-internal-secret" }, shows: ["the internal secret"] },
  { auth: { token: "no" }, shows: ["something wrong"] },
  { auth: { deviceToken: "no" }, shows: ["something wrong"] },
  { auth: { bootstrapToken: "no" }, shows: ["something wrong"] },
  { auth: { token: "the-token", password: "no" }, shows: ["the token", "something wrong"] },
];

/** An expectation that costs nothing while it holds. */
function same(found: unknown, wanted: unknown, given: unknown): void {
  if (found !== wanted) throw new Error(`${String(found)}, not ${String(wanted)}: ${JSON.stringify(given)}`);
}

test(`${rounds} upgrades and connects made of chance`, () => {
  const dice = new Dice(seed);
  let admitted = 0;
  for (let round = 0; round < rounds; round++) {
    const allowLoopback = dice.one([undefined, true, false]);
    const address = dice.one(addresses);
    const headers = randomHeaders(dice);
    const trust = {
      proxies,
      proxy: { userHeader: "x-user", requiredHeaders: ["x-proof"], allowUsers: ["me@example.com"], allowLoopback },
      tailscale: "disabled" as const,
    };
    const peer = readPeer(requestOf(address, headers), ownPort, trust);
    const user = plainUser(address, headers, allowLoopback);
    same(peer.proxy.ok ? peer.proxy.user : undefined, user, { address, headers });

    // A connect, mostly nearly right, sometimes anything.
    const { auth, shows } = dice.one(credentials);
    const client = dice.one([
      { id: "gateway-client", mode: "backend" },
      { id: "openclaw-control-ui", mode: "ui" },
      { id: "openclaw-macos", mode: "ui" },
    ]);
    const frame: Record<string, unknown> = {
      minProtocol: 3,
      maxProtocol: 4,
      client: { ...client, version: "1", platform: "linux" },
      role: "operator",
      scopes: ["operator.read"],
      auth,
    };
    if (dice.often(0.3)) frame[dice.one([...Object.keys(frame), "device", "sas", dice.text()])] = dice.value();
    const read = readConnectParams(dice.often(0.05) ? dice.value() : frame);
    if ("problem" in read) {
      same(read.problem === "", false, frame);
      continue;
    }
    const { params } = read;
    const given = { ...params.auth };
    // What chance has put there in its place is right for nothing.
    const known =
      JSON.stringify(given) === JSON.stringify(auth)
        ? shows
        : Object.values(given).some((value) => value !== "")
          ? (["something wrong"] as const)
          : [];
    const isProvenLocal = peer.isDirect && dice.often(0.5);
    const mode = dice.one<AuthMode | undefined>(["token", "password", "trusted-proxy", "none", undefined]);
    const loopback = dice.often(0.7);
    const policy: AuthPolicy = {
      mode,
      token: new Secret("the-token"),
      password: new Secret("the-password"),
      internalSecret: new Secret("the-internal-secret"),
      loopback,
      tailscale: "disabled",
    };
    const { id: clientId, mode: clientMode } = params.client;
    const decision = decideAuth(
      policy,
      {
        ...given,
        role: "operator",
        scopes: params.scopes ?? [],
        clientId,
        clientMode,
        isDirect: peer.isDirect,
        hasDevice: false,
        local: isProvenLocal ? { isProven: true } : { isProven: false, reason: "not-direct" },
        proxy: peer.proxy,
        isFromTailnet: peer.isFromTailnet,
        tailscale: { ok: false, reason: "tailscale is off" },
      },
      undefined,
    );
    const expected = whoLetsIn({
      mode: mode ?? "unset",
      loopbackIsOn: loopback,
      tailscaleMode: "disabled",
      isProvenLocal,
      shows: known,
      contradictsItself: false,
      comesFromTailnet: peer.isFromTailnet,
      tailnetConfirmsUser: false,
      proxyNamesAllowedUser: user !== undefined,
      isOwnClientOnLoopback: peer.isDirect && clientId === "gateway-client" && clientMode === "backend",
    });
    same(decision.ok ? decision.by : "nobody", expected, { address, headers, frame, mode });
    if (!decision.ok) continue;
    admitted++;
    // The second gate: a page of a vouched user keeps what the user has, and nobody else without a key keeps more than the rules say.
    const pairing = decidePairing(
      {
        autoApproveOperators: "proven-local",
        trustedLocalServices: [],
        vouched: { scopesOf: {}, cap: ["operator.read"], enrolDevices: false },
      },
      {
        role: "operator",
        scopes: params.scopes ?? [],
        clientId,
        clientMode,
        authenticatedBy: decision.by,
        isDirect: peer.isDirect,
        isProvenLocal,
        hasDevice: false,
        user: decision.user,
        isBrowser: peer.origin !== undefined,
      },
      undefined,
    );
    if (pairing.ok === "admit" && pairing.scopes.length > 0) {
      same(peer.isDirect || decision.user !== undefined, true, { address, headers, frame, mode });
    }
  }
  // Chance that lets nobody in would have tried nothing.
  expect(admitted).toBeGreaterThan(rounds / 20);
});

test(`${overSockets} of them as bytes: the gateway answers or hangs up, and is well afterwards`, async () => {
  await using world = await startGateway({ limits: { maxAttempts: 1_000_000, handshakeDeadlineMs: 1_000 } });
  const dice = new Dice(seed + 1);
  const send = (bytes: Buffer) =>
    new Promise<void>((resolve) => {
      const socket = dial({ host: "127.0.0.1", port: world.gateway.port });
      socket.on("error", () => {});
      socket.on("close", () => resolve());
      socket.on("data", () => {});
      socket.end(bytes);
    });
  for (let batch = 0; batch < overSockets / 20; batch++) {
    const requests = Array.from({ length: 20 }, () => {
      const lines = randomHeaders(dice).map(({ name, value }) => `${name}: ${value}`);
      const upgrade = dice.often(0.7)
        ? [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
          ]
        : [];
      const first = dice.one([
        "GET / HTTP/1.1",
        "GET /health HTTP/1.1",
        "POST / HTTP/1.1",
        "CONNECT x:1 HTTP/1.1",
        dice.text(),
      ]);
      const head = [first, "Host: 127.0.0.1", ...upgrade, ...lines, "", ""].join("\r\n");
      const frames = Array.from({ length: dice.below(60) }, () => dice.below(256));
      return Buffer.concat([Buffer.from(head), Buffer.from(frames)]);
    });
    await Promise.all(requests.map(send));
  }
  const operator = await world.operator();
  expect(await operator.call("health")).toMatchObject({ ok: true });
  expect(world.gateway.devices()).toEqual([]);
});
