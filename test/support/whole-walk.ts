/** A walk through the whole protocol with our own client, node and gateway: every form of connect, every method, every event, and refusals. */
import { randomUUID } from "node:crypto";
import { connectGateway, type Credential } from "../../src/client/connect-gateway.ts";
import type { GatewaySession } from "../../src/client/gateway-session.ts";
import { createHandlers } from "../../src/node/handlers/index.ts";
import type { DeviceIdentity } from "../../src/identity/device-identity.ts";
import { signSuccession } from "../../src/identity/key-succession.ts";
import type { EventFrame } from "../../src/protocol/frame.ts";
import { readSetupCode } from "../../src/protocol/setup-code.ts";
import { Secret } from "../../src/secret.ts";
import { approvalsInMemory } from "../node/handlers/approvals-in-memory.ts";
import { makeIdentity, Memory, startNode, type TestNode } from "./node-host.ts";
import { at, RawClient, textAt } from "./raw-client.ts";
import { Recorder } from "./recorder.ts";
import { pairKeyless } from "./rpc-client.ts";
import { everyScope, sharedToken, startGateway } from "./world.ts";
import { startWireTap, type TappedMessage } from "./wire-tap.ts";

const password = "password-of-the-test-gateway";
const anyProgram = JSON.stringify({ version: 1, defaults: { security: "full", ask: "off" }, agents: {} });

interface Caller {
  readonly role?: "operator" | "node";
  readonly scopes?: readonly string[];
  readonly identity?: DeviceIdentity;
  readonly credential?: Credential | undefined;
  /** The gateway's own caller, which needs no device. */
  readonly backend?: boolean;
}

const credentials = {
  token: { kind: "token", secret: new Secret(sharedToken) },
  password: { kind: "password", secret: new Secret(password) },
  wrong: { kind: "token", secret: new Secret("not-the-token") },
} as const;

/** Everything that was said, in its order. */
export async function walkTheProtocol(): Promise<readonly TappedMessage[]> {
  await using world = await startGateway({ auth: { token: sharedToken, password }, limits: { tickIntervalMs: 50 } });
  await using tap = await startWireTap(world.url);
  const events = new Recorder<EventFrame>();
  const connect = connectorTo(tap.url, events.push);
  await using operator = await connect({ backend: true, scopes: everyScope, credential: credentials.token });
  await using kitchen = startTheNode(tap.url, "kitchen");
  const nodeId = await approveNode(operator, kitchen);
  await rejectRequests(operator, tap.url, connect);
  await askEverything(operator, nodeId);
  await invoke(operator, nodeId);
  const identity = makeIdentity();
  await inviteSomebody(operator, connect);
  await connectInEveryForm(operator, identity, connect);
  await speakAsNode(operator, connect);
  await pairWithoutKey(operator, world.url);
  await changeTokens(operator, kitchen, nodeId, identity, connect);
  await refuseOldProtocol(tap.url);
  await events.find(({ event }) => event === "tick");
  await events.find(({ event, payload }) => event === "presence" && JSON.stringify(payload).includes(nodeId));
  await world.gateway.close();
  await Promise.all([operator.closed, events.find(({ event }) => event === "shutdown")]);
  return tap.messages.items;
}

type Connect = (caller: Caller) => Promise<GatewaySession>;

function connectorTo(url: string, onEvent: (event: EventFrame) => void): Connect {
  return ({ role = "operator", backend = false, ...more }) => {
    const [id, mode] = backend
      ? ["gateway-client", "backend"]
      : role === "node"
        ? ["node-host", "node"]
        : ["openclaw-tui", "ui"];
    const client = { id, mode, version: "1.0.0", platform: "linux", deviceFamily: "Linux" };
    return connectGateway({ gateway: { url }, client, role, scopes: [], timeoutMs: 10_000, onEvent, ...more });
  };
}

/** A node with everything that ours can do, and `system.notify`, which answers only when it is told to stop. */
function startTheNode(url: string, displayName: string): TestNode {
  const env = { PATH: "/usr/bin:/bin", HOME: "/" };
  return startNode(url, {
    displayName,
    instanceId: `instance of ${displayName}`,
    pathEnv: env.PATH,
    memory: new Memory(),
    handlers: {
      ...createHandlers({ approvals: approvalsInMemory(anyProgram), env, cwd: "/" }),
      "system.notify": (_params, { signal }) =>
        new Promise((resolve) => signal.addEventListener("abort", () => resolve("told to stop"), { once: true })),
    },
  });
}

/** Both layers; resolves with the node's id when it can be asked. */
async function approveNode(operator: GatewaySession, node: TestNode): Promise<string> {
  const device = await node.event("pairing-required");
  await operator.call("device.pair.list", {});
  await operator.call("device.pair.approve", { requestId: device.requestId });
  const surface = await node.event("pairing-required", node.events.items.indexOf(device) + 1);
  await operator.call("node.pair.list", {});
  await operator.call("node.pair.approve", { requestId: surface.requestId });
  return (await node.event("ready")).deviceId;
}

/** One request of each layer. */
async function rejectRequests(operator: GatewaySession, url: string, connect: Connect): Promise<void> {
  const asked = await refused(connect({ role: "node", identity: makeIdentity(), credential: credentials.token }));
  const requestId = textAt(asked, "details", "requestId");
  await operator.call("device.pair.lookup", { request: requestId });
  await operator.call("device.pair.reject", { requestId, reason: "not ours" });
  await using node = startTheNode(url, "cellar");
  const device = await node.event("pairing-required");
  await operator.call("device.pair.approve", { requestId: device.requestId });
  const surface = await node.event("pairing-required", node.events.items.indexOf(device) + 1);
  await operator.call("node.pair.reject", { requestId: surface.requestId, reason: "too much" });
  await node.ended;
  await operator.call("node.pair.remove", { nodeId: device.deviceId });
}

async function askEverything(operator: GatewaySession, nodeId: string): Promise<void> {
  await operator.call("health", {});
  await operator.call("status", {});
  await operator.call("system-presence", {});
  await operator.call("gateway.identity.get", {});
  await operator.call("config.get", {});
  await operator.call("node.list", {});
  await operator.call("node.describe", { nodeId });
  await operator.call("device.pair.rename", { deviceId: nodeId, label: "the kitchen" });
  await operator.call("node.rename", { nodeId, displayName: "kitchen at home" });
  await operator.call("device.pair.list", {});
  await operator.call("node.pair.list", {});
  await refused(operator.request("no.such.method", {}));
  await refused(operator.call("node.describe", { nodeId: "nobody" }));
}

async function invoke(operator: GatewaySession, nodeId: string): Promise<void> {
  const ask = (command: string, params: unknown, timeoutMs = 10_000) =>
    operator.call("node.invoke", { nodeId, command, params, timeoutMs, idempotencyKey: randomUUID() });
  await ask("system.which", { bins: ["sh"] });
  await refused(operator.call("node.invoke", { nodeId, command: "system.which", idempotencyKey: randomUUID() })); // no params
  await ask("system.run.prepare", { command: ["true"] });
  await ask("system.run", { command: ["true"], sessionKey: "walk" });
  await refused(ask("system.run", { command: [] }));
  await refused(ask("no.such.command", {}));
  await refused(ask("system.notify", {}, 50)); // which never answers
  const { hash, file } = readApprovals(await operator.call("exec.approvals.node.get", { nodeId }));
  await operator.call("exec.approvals.node.set", { nodeId, file, baseHash: hash });
}

function readApprovals(snapshot: unknown): { readonly hash: string; readonly file: Record<string, unknown> } {
  return { hash: textAt(snapshot, "hash"), file: Object.fromEntries(Object.entries(at(snapshot, "file") ?? {})) };
}

/** An invite of every kind, looked at, used and withdrawn. */
async function inviteSomebody(operator: GatewaySession, connect: Connect): Promise<void> {
  const identity = makeIdentity();
  const publicUrl = "wss://gateway.example:8443";
  const all = { ttlMs: 60_000, displayName: "cellar", commands: ["system.which"], tlsFingerprint: "ab".repeat(32) };
  const { setupCode, setupId = "" } = await operator.call("device.pair.setupCode", {
    publicUrl,
    bootstrapProfile: "node",
    forDeviceId: identity.deviceId,
    ...all,
  });
  const read = readSetupCode(setupCode);
  const bootstrapToken = "code" in read ? read.code.bootstrapToken : "";
  const credential = { kind: "bootstrapToken", secret: new Secret(bootstrapToken) } as const;
  {
    await using looker = await connect({ credential });
    await looker.call("device.pair.setupInspect", { bootstrapToken });
  }
  await operator.call("device.pair.setupStatus", { setupId });
  await using _node = await connect({ role: "node", identity, credential });
  await refused(connect({ role: "node", identity: makeIdentity(), credential }));
  await operator.call("device.pair.setupStatus", { setupId });
  const other = await operator.call("device.pair.setupCode", { publicUrl });
  await operator.call("device.pair.setupWithdraw", { setupId: other.setupId ?? "" });
  await operator.call("device.pair.setupList", {});
  await refused(operator.call("device.pair.setupCode", {})); // on loopback
  await operator.call("device.pair.remove", { deviceId: identity.deviceId });
}

async function connectInEveryForm(operator: GatewaySession, identity: DeviceIdentity, connect: Connect): Promise<void> {
  const scopes = ["operator.pairing", "operator.read"];
  const { token, wrong } = credentials;
  const asked = await refused(connect({ identity, scopes, credential: token }));
  await operator.call("device.pair.approve", { requestId: textAt(asked, "details", "requestId") });
  await using byToken = await connect({ identity, scopes, credential: token });
  const deviceToken = new Secret(textAt(byToken.hello, "auth", "deviceToken"));
  await using byDeviceToken = await connect({
    identity,
    scopes,
    credential: { kind: "deviceToken", secret: deviceToken },
  });
  await refused(byDeviceToken.call("node.invoke", { nodeId: "n", command: "c", idempotencyKey: "k" })); // a scope that it lacks
  await byDeviceToken.call("device.token.rotate", { deviceId: identity.deviceId, role: "operator" });
  await byDeviceToken.closed;
  await using _byPassword = await connect({ backend: true, scopes, credential: credentials.password });
  await using _readOnly = await connect({ backend: true, scopes: ["operator.read"], credential: token });
  await using _unknownScope = await connect({ identity, scopes: [...scopes, "operator.dance"], credential: token });
  await refused(connect({ identity, scopes: everyScope, credential: token })); // wider than approved
  await refused(connect({ identity, scopes, credential: { kind: "deviceToken", secret: deviceToken } })); // rotated
  await refused(connect({ identity: makeIdentity(), scopes, credential: wrong }));
  await refused(connect({ identity: makeIdentity(), scopes }));
  await refused(connect({ role: "node", credential: token })); // without a device
}

/** What nodes may call, and our node host only calls when it has a reason. */
async function speakAsNode(operator: GatewaySession, connect: Connect): Promise<void> {
  const identity = makeIdentity();
  const caller = { role: "node", identity, credential: credentials.token } as const;
  const asked = await refused(connect(caller));
  await operator.call("device.pair.approve", { requestId: textAt(asked, "details", "requestId") });
  await using node = await connect(caller);
  await node.call("skills.bins", {});
  await node.call("node.event", { event: "walk", payloadJSON: "{}" });
  await node.call("node.invoke.result", { id: "late", nodeId: identity.deviceId, ok: true, payloadJSON: "{}" });
  await refused(node.call("node.list", {})); // an operator's method
}

/** What operators see of a client of the other dialect that asks for a token of its own. */
async function pairWithoutKey(operator: GatewaySession, url: string): Promise<void> {
  const approve = (requestId: string) => operator.call("device.pair.approve", { requestId });
  const { deviceId } = await pairKeyless(url, approve, { displayName: "panel" });
  await operator.call("device.pair.list", {});
  await operator.call("device.pair.remove", { deviceId });
}

async function changeTokens(
  operator: GatewaySession,
  node: TestNode,
  nodeId: string,
  identity: DeviceIdentity,
  connect: Connect,
): Promise<void> {
  const ready = node.next("ready");
  await operator.call("device.token.rotate", { deviceId: nodeId, role: "node" });
  await ready;
  await rotateWithOverlap(operator, nodeId);
  const next = await takeNewKey(identity, connect);
  await using device = await connect({ identity: next, scopes: ["operator.read"], credential: credentials.token });
  await operator.call("device.token.revoke", { deviceId: next.deviceId, role: "operator" });
  await device.closed;
  await operator.call("device.pair.remove", { deviceId: nodeId });
  await node.stop();
}

/** The device goes on under a new key. */
async function takeNewKey(identity: DeviceIdentity, connect: Connect): Promise<DeviceIdentity> {
  const next = makeIdentity();
  await using device = await connect({ identity, scopes: ["operator.read"], credential: credentials.token });
  await device.call("device.key.rotate", signSuccession(identity, next, device.hello.server.connId));
  await device.closed;
  return next;
}

/** The node is pushed its new token, says that it has it, and proves it. */
async function rotateWithOverlap(operator: GatewaySession, deviceId: string): Promise<void> {
  await operator.call("device.token.rotate", { deviceId, role: "node", overlapMs: 60_000, critical: true });
  for (;;) {
    const { rotations } = await operator.call("device.token.progress", {});
    if (rotations.some(({ state }) => state === "confirmed")) return;
  }
}

async function refuseOldProtocol(url: string): Promise<void> {
  await using client = await RawClient.open(url);
  await client.connect({ role: "operator", protocol: [1, 2], auth: { token: sharedToken } });
  await client.closed;
}

/** The failure of what must fail. */
async function refused(attempt: Promise<unknown>): Promise<unknown> {
  return attempt.then(
    () => {
      throw new Error("it was not refused");
    },
    (error: unknown) => error,
  );
}
