/**
 * Joins two gateways, each through the end of the link on its machine: looked at, admitted, connected, proven, kept. Each end takes back
 * what it added when it is told to, or left before it was told to keep it, so a failure or a kill at any step leaves both as they were.
 */
import { OpenClawError } from "../errors.ts";
import type { EndLine, Params } from "./end-line.ts";

/** What an end says of itself. */
export interface EndFacts {
  readonly deviceId: string;
  /** Who it was before it took its present key, oldest first. */
  readonly formerIds: readonly string[];
  readonly publicKey: string;
  readonly fingerprint: string;
  readonly host: string;
  readonly version: string;
  /** What its node serves. */
  readonly commands: readonly string[];
  readonly gateway: GatewayFacts;
}

export interface GatewayFacts {
  /** As it is reached on its own machine, `ws(s)://host:port`. */
  readonly url: string;
  readonly version: string;
  readonly tlsFingerprint?: string | undefined;
}

/** One direction of a link, once it is proven. */
export interface LinkedDirection {
  /** The device that is a node over there. */
  readonly deviceId: string;
  readonly paired: true;
  readonly verified: true;
  readonly latencyMs: number;
}

export interface LinkedEnds {
  readonly near: EndFacts;
  readonly far: EndFacts;
  readonly toRemote?: LinkedDirection;
  readonly toLocal?: LinkedDirection;
  /** The node that runs at each end. */
  readonly nodes: { readonly near?: RunningNode; readonly far?: RunningNode };
}

/** A node at one end, and how it is started again. */
export interface RunningNode {
  readonly direction: keyof LinkPorts;
  readonly gateway: NodeAddress;
  /** Resolves with the reason when its run is over. */
  readonly stopped: Promise<unknown>;
}

export interface NodeAddress {
  /** The gateway's name for this link: the same after every start, whatever the ports are. */
  readonly url: string;
  readonly port: number;
  readonly tlsFingerprint?: string | undefined;
}

/** Where each gateway is dialled on the other machine. */
export interface LinkPorts {
  readonly toRemote?: number | undefined;
  readonly toLocal?: number | undefined;
}

export const linkSteps = ["connect", "look", "begin", "forward", "admit", "join", "verify", "keep"] as const;
export type LinkStep = (typeof linkSteps)[number];

export interface JoinOptions {
  readonly near: EndLine;
  readonly far: EndLine;
  readonly directions: { readonly toRemote: boolean; readonly toLocal: boolean };
  /** What people call the link on this machine. */
  readonly name: string;
  /** How to get there again, for the record here. */
  readonly way: object;
  /** Opens the forwards, once it is known where the gateways are. */
  readonly forward: (near: EndFacts, far: EndFacts) => Promise<LinkPorts>;
  /** What a node says while it runs, of the direction it serves. */
  readonly onNode: (direction: keyof LinkPorts, event: Params) => void;
  readonly onStep: (step: LinkStep) => void;
}

/** Resolves when both directions are proven and kept. A failure names its step in `details.step`. */
export async function joinEnds(options: JoinOptions): Promise<LinkedEnds> {
  const { near, far, directions, name, way, onStep } = options;
  const step = <Result>(which: LinkStep, work: () => Promise<Result>) => inStep(which, work, onStep);

  const [here, there] = await step("look", async () => {
    const [one, other] = await Promise.all([near.ask("look"), far.ask("look")]);
    return [readFacts(one), readFacts(other)] as const;
  });
  if (here.deviceId === there.deviceId) throw sameIdentity(here);
  await step("begin", () =>
    Promise.all([
      near.ask("begin", { peer: asPeer(there), name, way }),
      far.ask("begin", { peer: asPeer(here), name: here.host }),
    ]),
  );
  const ports = await step("forward", () => options.forward(here, there));
  const lanes = lanesOf(options, here, there, ports);
  const secrets = await step("admit", () => Promise.all(lanes.map(admit)));
  const nodes = await step("join", () =>
    Promise.all(
      lanes.map(({ node, direction, gateway }, index) =>
        startNode(node, { direction, gateway, bootstrapToken: secrets[index], onNode: options.onNode }),
      ),
    ),
  );
  const proven = await step("verify", () => Promise.all(lanes.map(verify)));
  // The near end first: if nobody is left to take anything back, it is on the machine whose user sees it, and can unlink.
  await step("keep", async () => {
    await near.ask("keep");
    await far.ask("keep");
  });
  const linked = new Map(lanes.map(({ direction }, index) => [direction, proven[index]]));
  const [toRemote, toLocal] = [linked.get("toRemote"), linked.get("toLocal")];
  if ((directions.toRemote && toRemote === undefined) || (directions.toLocal && toLocal === undefined))
    throw new OpenClawError("internal", "a direction of the link was not proven");
  return {
    near: here,
    far: there,
    ...(toRemote === undefined ? {} : { toRemote }),
    ...(toLocal === undefined ? {} : { toLocal }),
    nodes: Object.fromEntries(nodes.map((node) => [node.direction === "toRemote" ? "near" : "far", node])),
  };
}

/** One direction: who becomes a node, whose gateway that is, and how it is dialled. */
interface Lane {
  readonly direction: keyof LinkPorts;
  readonly node: EndLine;
  readonly owner: EndLine;
  readonly nodeFacts: EndFacts;
  readonly gateway: NodeAddress;
}

function lanesOf({ near, far }: JoinOptions, here: EndFacts, there: EndFacts, ports: LinkPorts): readonly Lane[] {
  const lanes: Lane[] = [];
  if (ports.toRemote !== undefined) {
    const gateway = addressOf(there, ports.toRemote);
    lanes.push({ direction: "toRemote", node: near, owner: far, nodeFacts: here, gateway });
  }
  if (ports.toLocal !== undefined) {
    const gateway = addressOf(here, ports.toLocal);
    lanes.push({ direction: "toLocal", node: far, owner: near, nodeFacts: there, gateway });
  }
  return lanes;
}

/** Tokens are kept by a gateway's origin. Its first device id names it for ever, and no name or port of the network does. */
function addressOf(
  { deviceId: presentId, formerIds: [deviceId = presentId], gateway }: EndFacts,
  port: number,
): NodeAddress {
  const { protocol } = new URL(gateway.url);
  return { url: `${protocol}//${deviceId.slice(0, 32)}.link`, port, tlsFingerprint: gateway.tlsFingerprint };
}

/** A single-use secret for exactly this key and these commands, or nothing where the node is known already and has its token. */
async function admit({ node, owner, nodeFacts, gateway }: Lane): Promise<string | undefined> {
  const { hasToken } = await node.ask("knows", { url: gateway.url });
  const { bootstrapToken } = await owner.ask("admit", { hasToken: hasToken === true, commands: nodeFacts.commands });
  return typeof bootstrapToken === "string" ? bootstrapToken : undefined;
}

export interface NodeStart {
  readonly direction: keyof LinkPorts;
  readonly gateway: NodeAddress;
  readonly bootstrapToken?: string | undefined;
  readonly onNode: JoinOptions["onNode"];
}

/** Starts the node at an end; resolves when its gateway lets it in. */
export async function startNode(
  line: EndLine,
  { direction, gateway, bootstrapToken, onNode }: NodeStart,
): Promise<RunningNode> {
  const { promise: ready, resolve, reject } = Promise.withResolvers<void>();
  const served = line.ask("serve", { ...gateway, bootstrapToken }, (event) => {
    onNode(direction, event);
    if (event["event"] === "ready") resolve();
    if (event["event"] === "pairing-required") reject(notAdmitted(direction, event));
  });
  const stopped = served.then(
    () => new OpenClawError("failed", "the node was stopped"),
    (error: unknown) => error,
  );
  void stopped.then(reject);
  const timer = setTimeout(() => reject(notReady(direction)), readyMs);
  try {
    await ready;
  } finally {
    clearTimeout(timer);
  }
  return { direction, gateway, stopped };
}

/** A call that changes nothing, from the gateway to the node and back. */
async function verify({ owner, nodeFacts }: Lane): Promise<LinkedDirection> {
  const { latencyMs } = await owner.ask("verify", { deviceId: nodeFacts.deviceId });
  return { deviceId: nodeFacts.deviceId, paired: true, verified: true, latencyMs: Number(latencyMs) };
}

/** Does one step; what fails in it says so. */
export async function inStep<Result>(
  step: LinkStep,
  work: () => Promise<Result>,
  onStep: (step: LinkStep) => void,
): Promise<Result> {
  let result: Result;
  try {
    result = await work();
  } catch (error) {
    if (!(error instanceof OpenClawError)) throw error;
    const { code, hint, fix, details } = error;
    throw new OpenClawError(code, `step "${step}": ${error.message}`, {
      hint,
      fix,
      details: { ...details, step },
      cause: error,
    });
  }
  onStep(step);
  return result;
}

function readFacts(answer: Params): EndFacts {
  const gateway = { ...Object(answer["gateway"]) } as Params;
  const text = (from: Params, key: string) => {
    const value = from[key];
    if (typeof value === "string") return value;
    throw new OpenClawError("incompatible", `the other half of this program says no ${key}`, {
      hint: "use the same version on both machines",
    });
  };
  const pin = gateway["tlsFingerprint"];
  const { commands, formerIds } = answer;
  return {
    deviceId: text(answer, "deviceId"),
    formerIds: Array.isArray(formerIds) ? formerIds.map(String) : [],
    publicKey: text(answer, "publicKey"),
    fingerprint: text(answer, "fingerprint"),
    host: text(answer, "host"),
    version: text(answer, "version"),
    commands: Array.isArray(commands) ? commands.map(String) : [],
    gateway: {
      url: text(gateway, "url"),
      version: text(gateway, "version"),
      ...(typeof pin === "string" && { tlsFingerprint: pin }),
    },
  };
}

function asPeer({ deviceId, formerIds, publicKey, host }: EndFacts) {
  return { deviceId, formerIds, publicKey, host };
}

function sameIdentity({ deviceId }: EndFacts): OpenClawError {
  return new OpenClawError("conflict", "both ends have the same device identity: a gateway cannot be its own node", {
    hint: "is it the same machine? give the other side its own state with --remote-state-dir",
    details: { deviceId, step: "look" },
  });
}

/** Milliseconds for a node to be let in: it tries again by itself, and for ever. */
const readyMs = 30_000;

function notReady(direction: keyof LinkPorts): OpenClawError {
  const whose = direction === "toRemote" ? "the other gateway" : "this machine's gateway";
  return new OpenClawError("timeout", `the node was not let in by ${whose} in time`, {
    hint: "is that gateway running?",
    details: { direction, timeoutMs: readyMs },
  });
}

function notAdmitted(direction: keyof LinkPorts, { layer, approve }: Params): OpenClawError {
  const whose = direction === "toRemote" ? "the other gateway" : "this gateway";
  return new OpenClawError("pairing-required", `${whose} still asks for an approval (${String(layer)})`, {
    ...(typeof approve === "string" && { fix: approve }),
  });
}
