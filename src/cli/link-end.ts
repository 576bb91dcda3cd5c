/** One end of a link: this machine's gateway admits the peer's node, and this machine's node serves the peer's gateway. */
import { hostname } from "node:os";
import type { GatewaySession } from "../client/gateway-session.ts";
import { originOf } from "../client/open-session.ts";
import { OpenClawError } from "../errors.ts";
import { fingerprint } from "../identity/fingerprint.ts";
import type { EndMethods, Params } from "../link/end-line.ts";
import type { EndFacts } from "../link/join-ends.ts";
import { type NodeEvent, runNode, stateAfter } from "../node/index.ts";
import { Secret } from "../secret.ts";
import { isAbandoned, type LinkRecord, listLinks, readLink, removeLink, writeLink } from "../state/link-record.ts";
import { RunRecord } from "../state/run-record.ts";
import { ownMark } from "../store/process-life.ts";
import { acquireLock } from "../store/lock.ts";
import { version } from "../version.ts";
import type { Context } from "./context.ts";
import { listDevices } from "./device-directory.ts";
import { mintInvite, withdrawInvite } from "./link-invite.ts";
import { prepareParts } from "./node-setup.ts";
import { asOperator } from "./operator.ts";
import type { TargetFlags } from "./target-options.ts";

/** How often it is looked whether the peer's node is there. */
const pollMs = 50;
/** Milliseconds until a node that was let in must have told its commands. */
const arrivalMs = 10_000;
/** A call that changes nothing, and the programs it asks about: every system has one. */
const harmless = { command: "system.which", params: { bins: ["sh"] } } as const;

export class LinkEnd implements AsyncDisposable {
  #context: Context;
  readonly #flags: TargetFlags;
  readonly #steps = new AsyncDisposableStack();
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<object>>();
  #record: LinkRecord | undefined;
  /** The link was there before this end began. */
  #wasLinked = false;

  constructor(context: Context, flags: TargetFlags) {
    this.#context = context;
    this.#flags = flags;
  }

  methods(): EndMethods {
    const methods: EndMethods = {
      look: () => this.#look(),
      begin: (params) => this.#begin(params),
      resume: (params) => this.#resume(params),
      knows: (params) => this.#knows(params),
      admit: (params) => this.#admit(params),
      serve: (params, row) => this.#serve(params, row),
      verify: (params) => this.#verify(params),
      keep: () => this.#keep(),
      remove: async (peer) => ({ removed: await this.remove(String(peer["deviceId"]), idsIn(peer["formerIds"])) }),
    };
    const counted = Object.entries(methods).map(([name, method]) => [name, this.#counted(method)] as const);
    // It waits for all the others.
    return { ...Object.fromEntries(counted), undo: () => this.#undo() };
  }

  /** Stops the node; takes back what was added, unless it was told to keep it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stopAll();
    const record = this.#record;
    if (record?.state === "setting-up") {
      this.#context = this.#context.forTakingBack();
      await this.#takeBack(record).finally(() => this.#context.close());
    }
    await this.#steps.disposeAsync();
  }

  /** What is being done may still add something: afterwards nothing does. */
  async #stopAll(): Promise<void> {
    this.#stop.abort(new OpenClawError("failed", "the link's end is over"));
    await Promise.allSettled(this.#running);
  }

  #counted(method: EndMethods[string]): EndMethods[string] {
    return (params, row) => {
      const call = method(params, row);
      this.#running.add(call);
      const over = () => this.#running.delete(call);
      call.then(over, over);
      return call;
    };
  }

  /** Who we are, and whose gateway is here. What an earlier attempt left is taken back first. */
  async #look(): Promise<EndFacts> {
    for (const record of await listLinks(this.#linkDir)) {
      if (await isAbandoned(record)) await this.#takeBack(record);
    }
    const gatewayVersion = await this.#operator(["operator.read"], async ({ hello }) => hello.server.version);
    // Only where there is a gateway: a mistyped state directory gets no identity.
    const identity = await this.#context.identity();
    const { address } = await this.#context.target(this.#flags);
    const { handlers } = await prepareParts(this.#context, {});
    return {
      deviceId: identity.deviceId,
      formerIds: await this.#context.formerIds(),
      publicKey: identity.publicKey,
      fingerprint: fingerprint(identity.deviceId),
      host: hostname(),
      version,
      commands: Object.keys(handlers),
      gateway: { url: address.url, version: gatewayVersion, tlsFingerprint: address.tlsFingerprint },
    };
  }

  async #begin({ peer, name, way }: Params): Promise<object> {
    const { deviceId, formerIds, publicKey, host } = readPeer(peer);
    const lock = await acquireLock(`${this.#linkDir}/${deviceId}.lock`, {
      runtime: this.#context.runtime,
      timeoutMs: lockPatienceMs,
    });
    this.#steps.use(lock);
    const known = await this.#known(deviceId, formerIds);
    const base = { name: String(name), peer: { deviceId, publicKey, host }, ...(isWay(way) && { way }) };
    if (known?.state === "linked") {
      // What is there is repaired, and stays whatever happens.
      this.#wasLinked = true;
      await this.#note({ ...known, ...base });
      if (known.peer.deviceId !== deviceId) await removeLink(this.#linkDir, known.peer.deviceId);
      return { isKnown: true };
    }
    await this.#note({
      version: 1,
      ...base,
      state: "setting-up",
      owner: await ownMark(),
      createdAtMs: this.#context.runtime.now(),
      added: known?.added ?? {},
    });
    return { isKnown: false };
  }

  /** Takes up a link that is kept: for a line that was lost. */
  async #resume({ deviceId }: Params): Promise<object> {
    const known = await readLink(this.#linkDir, String(deviceId));
    if (known?.state !== "linked") throw notLinked(String(deviceId));
    const lock = await acquireLock(`${this.#linkDir}/${known.peer.deviceId}.lock`, {
      runtime: this.#context.runtime,
      timeoutMs: lockPatienceMs,
    });
    this.#steps.use(lock);
    this.#record = known;
    this.#wasLinked = true;
    return {};
  }

  async #knows({ url }: Params): Promise<object> {
    return { hasToken: (await this.#recall(String(url))) !== undefined };
  }

  /** A single-use secret for the peer's key and role, if it needs one to come in. */
  async #admit({ hasToken, commands }: Params): Promise<object> {
    const record = this.#begun();
    return this.#operator(["operator.read", "operator.pairing", "operator.admin"], async (session) => {
      const device = (await listDevices(session)).paired.find(({ deviceId }) => deviceId === record.peer.deviceId);
      const isNode = device?.roles.includes("node") === true;
      const node = await findNode(session, record.peer.deviceId);
      if (isNode && node !== undefined && node.commands.length > 0 && hasToken === true) return {};
      if (!isNode && record.added.device === undefined) {
        await this.#note({ ...record, added: { ...record.added, device: device === undefined ? "device" : "role" } });
      }
      const { address } = await this.#context.target(this.#flags);
      const { inviteId, bootstrapToken } = await mintInvite(session, {
        deviceId: record.peer.deviceId,
        commands: Array.isArray(commands) ? commands.map(String) : [],
        url: address.url,
      });
      const { added, ...rest } = this.#begun();
      await this.#note({ ...rest, added: { ...added, ...(inviteId !== undefined && { inviteId }) } });
      return { bootstrapToken };
    });
  }

  /** Serves the peer's gateway as its node; resolves when that is over. */
  async #serve(params: Params, row: (row: object) => void): Promise<object> {
    const { url, port, tlsFingerprint, bootstrapToken } = params;
    const record = this.#begun();
    const origin = originOf(String(url));
    if (record.added.token === undefined && (await this.#recall(String(url))) === undefined) {
      await this.#note({ ...record, added: { ...record.added, token: origin } });
    }
    const pin = typeof tlsFingerprint === "string" ? tlsFingerprint : undefined;
    const facts = { gateway: String(url), state: "connecting", dialPort: Number(port), tlsFingerprint: pin };
    await using run = await RunRecord.write(this.#context.paths().runDir, "node", facts, this.#context.runtime);
    await runNode({
      ...(await prepareParts(this.#context, {})),
      gateway: {
        url: String(url),
        dialAt: { host: "127.0.0.1", port: Number(port) },
        tlsFingerprint: pin,
      },
      credentials: typeof bootstrapToken === "string" ? { bootstrap: new Secret(bootstrapToken) } : {},
      wait: false,
      signal: AbortSignal.any([this.#stop.signal, this.#context.options.signal]),
      onEvent: (event: NodeEvent) => {
        run.note(stateAfter(event));
        row(event);
      },
    });
    return {};
  }

  /** Asks the peer's node something harmless through this machine's gateway. */
  async #verify({ deviceId }: Params): Promise<object> {
    const nodeId = String(deviceId);
    return this.#operator(["operator.read", "operator.write"], async (session) => {
      const giveUpAtMs = this.#context.runtime.now() + arrivalMs;
      for (;;) {
        const node = await findNode(session, nodeId);
        if (node?.connected === true && node.commands.includes(harmless.command)) break;
        if (this.#context.runtime.now() > giveUpAtMs) throw notThere(nodeId);
        await this.#context.runtime.sleep(pollMs, AbortSignal.any([this.#stop.signal, this.#context.oneShotSignal]));
      }
      return this.#call(session, nodeId);
    });
  }

  async #call(session: GatewaySession, nodeId: string): Promise<{ readonly latencyMs: number }> {
    const startedAtMs = performance.now();
    await session.call("node.invoke", { nodeId, ...harmless, idempotencyKey: this.#context.runtime.uuid() });
    return { latencyMs: Math.round((performance.now() - startedAtMs) * 10) / 10 };
  }

  async #keep(): Promise<object> {
    await this.#note({ ...this.#begun(), state: "linked" });
    return {};
  }

  /** Takes back at once what this end has added for a link that did not come about. What was linked before stays. */
  async #undo(): Promise<object> {
    await this.#stopAll();
    const record = this.#record;
    if (record !== undefined && !this.#wasLinked) await this.#takeBack(record);
    return {};
  }

  /** A call to a node through this machine's gateway; undefined when the node is not connected. */
  async askNode(peerId: string): Promise<{ readonly latencyMs: number } | undefined> {
    return this.#operator(["operator.read", "operator.write", "operator.pairing"], async (session) => {
      const nodeId = (await findPeer(session, peerId))?.deviceId ?? peerId;
      const node = await findNode(session, nodeId);
      return node?.connected === true ? await this.#call(session, nodeId) : undefined;
    });
  }

  /** The link with a peer, also when it was made under an id that the peer had before. */
  async #known(deviceId: string, formerIds: readonly string[]): Promise<LinkRecord | undefined> {
    for (const id of [deviceId, ...formerIds.toReversed()]) {
      const known = await readLink(this.#linkDir, id);
      if (known !== undefined) return known;
    }
    return undefined;
  }

  /** Ends a link: what it added here is taken back. False when there is none. */
  async remove(deviceId: string, formerIds: readonly string[] = []): Promise<boolean> {
    const known = await this.#known(deviceId, formerIds);
    if (known !== undefined) await this.#takeBack(known);
    return known !== undefined;
  }

  async #takeBack(record: LinkRecord): Promise<void> {
    const { deviceId } = record.peer;
    const { device, inviteId, token } = record.added;
    this.#context.restartClock();
    if (device !== undefined || inviteId !== undefined) {
      await this.#operator(["operator.read", "operator.pairing", "operator.admin"], async (session) => {
        if (inviteId !== undefined) await withdrawInvite(session, inviteId);
        const known = await findPeer(session, deviceId);
        if (known === undefined || device === undefined) return;
        // Its keeper may have given it more since; then only what the link gave goes.
        const isAll = device === "device" && known.roles.every((role) => role === "node");
        if (isAll) await session.call("device.pair.remove", { deviceId: known.deviceId });
        else if (known.roles.includes("node")) {
          await session.call("device.token.revoke", { deviceId: known.deviceId, role: "node" });
        }
      });
    }
    if (token !== undefined) await this.#forgetTokens(new URL(token).hostname);
    await removeLink(this.#linkDir, deviceId);
    if (this.#record?.peer.deviceId === deviceId) this.#record = undefined;
  }

  /** The tokens of the link's gateway, under whatever port and key they were filed. */
  async #forgetTokens(hostname: string): Promise<void> {
    const tokens = await this.#context.tokens();
    for (const { gateway, deviceId, role } of await tokens.list()) {
      if (role === "node" && new URL(gateway).hostname === hostname) await tokens.forget({ gateway, deviceId, role });
    }
  }

  #operator<Result>(scopes: readonly string[], action: (session: GatewaySession) => Promise<Result>): Promise<Result> {
    this.#context.restartClock();
    return asOperator(this.#context, this.#flags, scopes, action);
  }

  async #recall(url: string) {
    const { deviceId } = await this.#context.identity();
    return (await this.#context.tokens()).recall({ gateway: originOf(url), deviceId, role: "node" });
  }

  async #note(record: LinkRecord): Promise<void> {
    await writeLink(this.#linkDir, record);
    this.#record = record;
  }

  #begun(): LinkRecord {
    if (this.#record !== undefined) return this.#record;
    throw new OpenClawError("protocol", "nothing was begun at this end of the link");
  }

  get #linkDir(): string {
    return this.#context.paths().linkDir;
  }
}

/** Who ended a link's process may not be gone yet. */
const lockPatienceMs = 3_000;

async function findNode(session: GatewaySession, nodeId: string) {
  const { nodes } = await session.call("node.list", {});
  return nodes.find((node) => node.nodeId === nodeId);
}

/** The peer's device, also when it has another key by now. */
async function findPeer(session: GatewaySession, deviceId: string) {
  const { paired } = await listDevices(session);
  return paired.find((one) => one.deviceId === deviceId || one.formerDeviceIds?.includes(deviceId) === true);
}

function idsIn(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(String).filter((id) => deviceIdShape.test(id)) : [];
}

const deviceIdShape = /^[0-9a-f]{64}$/u;

function readPeer(value: unknown): LinkRecord["peer"] & { readonly formerIds: readonly string[] } {
  const { deviceId, formerIds, publicKey, host } = { ...Object(value) } as Params;
  if (typeof deviceId !== "string" || !deviceIdShape.test(deviceId)) {
    throw new OpenClawError("usage", "the peer's device id is missing");
  }
  if (typeof publicKey !== "string" || typeof host !== "string") {
    throw new OpenClawError("usage", "the peer's key or name is missing");
  }
  return { deviceId, formerIds: idsIn(formerIds), publicKey, host };
}

function isWay(value: unknown): value is NonNullable<LinkRecord["way"]> {
  return typeof value === "object" && value !== null;
}

function notLinked(deviceId: string): OpenClawError {
  return new OpenClawError("not-found", `there is no link with ${fingerprint(deviceId)} here`, {
    hint: "it was ended on this side; openclaw pair link makes it anew",
  });
}

function notThere(nodeId: string): OpenClawError {
  return new OpenClawError("node-offline", `the node ${fingerprint(nodeId)} did not come to this gateway`, {
    hint: "openclaw nodes list shows who is connected",
    details: { nodeId },
  });
}
