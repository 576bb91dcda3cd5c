/** `pair link`, run here: one SSH connection, an end on each side of it, a tunnel that heals, and two nodes. */
import { OpenClawError } from "../errors.ts";
import type { EndLine, Params } from "../link/end-line.ts";
import { type EndFacts, inStep, joinEnds, type LinkedEnds, type LinkPorts, type LinkStep } from "../link/join-ends.ts";
import { keepEnd } from "../link/keep-end.ts";
import { startCommand } from "../ssh/command.ts";
import { connectSsh, type SshConnection } from "../ssh/connect.ts";
import { type ForwardSpec, formatDestination, parseDestination } from "../ssh/destination.ts";
import { type LinkRecord, listLinks, readLink } from "../state/link-record.ts";
import { nameForTunnel } from "../state/tunnel-record.ts";
import type { ControlMethods } from "../tunnel/control-server.ts";
import type { TunnelEvent, TunnelOptions } from "../tunnel/tunnel.ts";
import type { Context } from "./context.ts";
import { farCommand, openNearEnd, overChannel } from "./link-lines.ts";
import { readSshOptions, type SshFlags } from "./ssh-options.ts";
import { type HostedTunnel, hostTunnel } from "./tunnel-host.ts";

export interface LinkFlags extends SshFlags {
  readonly localPort?: string;
  readonly remotePort?: string;
  readonly oneWay?: string;
  readonly name?: string;
  readonly detach?: boolean;
  readonly remoteOpenclaw: string;
  readonly remoteStateDir?: string;
}

export interface LinkEvents {
  readonly onStep: (step: LinkStep) => void;
  readonly onTunnel: (event: TunnelEvent) => void;
  readonly onNode: (direction: keyof LinkPorts, event: Params) => void;
  readonly onLost: (side: "near" | "far", reason: string, retryInMs: number) => void;
}

/** A link that is up. Disposing of it closes the tunnel and the ends; the pairing stays. */
export interface HostedLink extends AsyncDisposable {
  readonly name: string;
  readonly linked: LinkedEnds;
  readonly hosted: HostedTunnel;
  /** Resolves when the process is asked to stop, or the tunnel is closed; rejects with what cannot heal. */
  readonly closed: Promise<void>;
}

/** Milliseconds for everything until both directions are proven. */
const setUpMs = 60_000;

/**
 * Links this machine's gateway with the one over there. A failure names its step, and then both sides are as they were: each end takes
 * back what it did when it is left.
 */
export async function hostLink(
  context: Context,
  destination: string,
  flags: LinkFlags,
  events: LinkEvents,
): Promise<HostedLink> {
  const known = await knownLink(context, destination, flags);
  // A link that is made again loses nothing that it had.
  const directions = unionOf(readDirections(flags.oneWay), known?.way);
  const { ssh } = await readSshOptions(context, destination, flags);
  const readable = formatDestination(parseDestination(destination));
  const name =
    context.options.starter?.name ??
    (await nameForTunnel(context.paths().runDir, flags.name ?? known?.name, readable, context.runtime));
  const deadline = AbortSignal.timeout(setUpMs);
  const signal = AbortSignal.any([context.options.signal, deadline]);

  await using opened = new AsyncDisposableStack();
  const where = formatDestination(ssh);
  const program = farCommand(flags.remoteOpenclaw, { port: flags.remotePort, stateDir: flags.remoteStateDir });
  const openNear = () => openNearEnd(context, { port: flags.localPort });
  const nodes: { toRemote?: string; toLocal?: string } = {};
  const onNode: LinkEvents["onNode"] = (direction, event) => {
    const { event: word } = event;
    if (word !== "invoke") nodes[direction] = String(word);
    events.onNode(direction, event);
  };
  let tunnel: HostedTunnel | undefined;
  let met: { readonly here: EndFacts; readonly there: EndFacts } | undefined;

  const connection = await inStep(
    "connect",
    () => connectSsh({ ...ssh, runtime: context.runtime }, signal),
    events.onStep,
  );
  // Until the tunnel has it.
  opened.defer(async () => (tunnel === undefined ? await connection.close() : undefined));
  const farOver = async (over: SshConnection) =>
    overChannel(context, await startCommand(over, program), where, cutOf(over));
  const near = opened.use(openNear());
  const far = opened.use(
    await inStep(
      "look",
      () => farOver(connection),
      () => {},
    ),
  );

  const giveUp = () => {
    void near[Symbol.asyncDispose]();
    void far[Symbol.asyncDispose]();
  };
  signal.addEventListener("abort", giveUp, { once: true });
  try {
    const linked = await joinEnds({
      near,
      far,
      directions,
      name,
      way: { destination, flags: wayFlags(flags), ...directions },
      onStep: events.onStep,
      onNode,
      async forward(here, there) {
        const parts = { here, there, directions, ssh, destination, name, connection, events };
        tunnel = opened.use(await openForwards(context, { ...parts, methods: { link: async () => ({ ...nodes }) } }));
        met = { here, there };
        return portsOf(tunnel, directions);
      },
    });
    if (tunnel === undefined) throw new OpenClawError("internal", "the link has no tunnel");
    const hosted: HostedTunnel = tunnel;
    const stop = new AbortController();
    const kept = AbortSignal.any([context.options.signal, stop.signal]);
    const common = { runtime: context.runtime, signal: kept, onNode };
    const keepNear = keepEnd({
      ...common,
      line: near,
      node: linked.nodes.near,
      peerId: linked.far.deviceId,
      reopen: async () => openNear(),
      onLost: (reason, retryInMs) => events.onLost("near", reason, retryInMs),
    });
    const keepFar = keepEnd({
      ...common,
      line: far,
      node: linked.nodes.far,
      peerId: linked.near.deviceId,
      reopen: async () => overChannel(context, await hosted.tunnel.start(program), where, () => false),
      onLost: (reason, retryInMs) => events.onLost("far", reason, retryInMs),
    });
    const closed = Promise.race([hosted.closed, keepNear, keepFar]).finally(() => stop.abort(asked()));
    closed.catch((error: unknown) => hosted.noteFailure(error));
    opened.defer(async () => {
      stop.abort(asked());
      await Promise.allSettled([keepNear, keepFar]);
    });
    const steps = opened.move();
    return { name, linked, hosted, closed, [Symbol.asyncDispose]: () => steps.disposeAsync() };
  } catch (error) {
    // Each end takes back what it did. What a broken one did is taken back by another one, over another connection if it must be.
    const undone = await Promise.all([undo(near), undo(far)]);
    await Promise.all([near[Symbol.asyncDispose](), far[Symbol.asyncDispose]()]);
    const left: string[] = [];
    if (near.hasSpoken && (near.isBroken || !undone[0])) {
      await takeBack(openNear).catch((reason: unknown) => left.push(leftover("this machine", met?.there.host, reason)));
    }
    if (far.hasSpoken && (far.isBroken || !undone[1])) {
      // It may have kept what this side does not keep.
      const isKept = met !== undefined && (await readLink(context.paths().linkDir, met.there.deviceId)) !== undefined;
      const forgotten = isKept ? undefined : met?.here.deviceId;
      const again = async () => {
        await using fresh = await connectSsh({ ...ssh, runtime: context.runtime }, AbortSignal.timeout(takeBackMs));
        await takeBack(() => farOver(fresh), forgotten);
      };
      await takeBack(() => farOver(connection), forgotten)
        .catch(again)
        .catch((reason: unknown) => left.push(leftover(where, met?.here.host, reason)));
    }
    const failure = deadline.aborted && !context.options.signal.aborted ? tooSlow(error) : error;
    throw left.length === 0 ? failure : withLeftovers(failure, left);
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
}

interface ForwardsOptions {
  readonly here: EndFacts;
  readonly there: EndFacts;
  readonly directions: Directions;
  readonly ssh: TunnelOptions["ssh"];
  readonly destination: string;
  readonly name: string;
  readonly connection: SshConnection;
  readonly events: LinkEvents;
  readonly methods: ControlMethods;
}

function openForwards(context: Context, options: ForwardsOptions): Promise<HostedTunnel> {
  const { here, there, directions, ssh, destination, name, connection, events, methods } = options;
  const forwards: ForwardSpec[] = [];
  if (directions.toRemote) forwards.push(specTo("local", there));
  if (directions.toLocal) forwards.push(specTo("remote", here));
  return hostTunnel(context, {
    destination,
    ssh,
    forwards,
    name,
    first: connection,
    methods,
    onEvent: events.onTunnel,
  });
}

/** From a free port to a gateway, as its own machine sees it. */
function specTo(direction: ForwardSpec["direction"], { gateway }: EndFacts): ForwardSpec {
  const { hostname, port, protocol } = new URL(gateway.url);
  const gatewayPort = port === "" ? (protocol === "wss:" ? 443 : 80) : Number(port);
  const target = { type: "tcp", host: hostname.replace(/^\[|\]$/gu, ""), port: gatewayPort } as const;
  return { direction, bind: "127.0.0.1", port: 0, target };
}

function portsOf({ tunnel }: HostedTunnel, { toRemote, toLocal }: Directions): LinkPorts {
  const rows = tunnel.forwards();
  const portOf = (direction: ForwardSpec["direction"]) => rows.find((row) => row.direction === direction)?.port;
  return { ...(toRemote && { toRemote: portOf("local") }), ...(toLocal && { toLocal: portOf("remote") }) };
}

export interface Directions {
  readonly toRemote: boolean;
  readonly toLocal: boolean;
}

/** The link that this command line means, where there is one: with the same place, and the same state there. */
export async function knownLink(
  context: Context,
  destination: string,
  { remoteStateDir }: LinkFlags,
): Promise<LinkRecord | undefined> {
  const records = await listLinks(context.paths().linkDir);
  return records.find(
    ({ state, way }) =>
      state === "linked" && way?.destination === destination && way.flags["remoteStateDir"] === remoteStateDir,
  );
}

/** What is asked for, with what is there already. */
export function unionOf(asked: Directions, known: Directions | undefined): Directions {
  return {
    toRemote: asked.toRemote || known?.toRemote === true,
    toLocal: asked.toLocal || known?.toLocal === true,
  };
}

export function readDirections(oneWay: string | undefined): Directions {
  switch (oneWay) {
    case undefined:
      return { toRemote: true, toLocal: true };
    case "to-remote":
      return { toRemote: true, toLocal: false };
    case "to-local":
      return { toRemote: false, toLocal: true };
    default:
      throw new OpenClawError("usage", `--one-way takes to-remote or to-local, not ${JSON.stringify(oneWay)}`);
  }
}

/** The end over there, over a connection of its own: for what is asked of it once. */
export async function visitFarEnd<Result>(
  context: Context,
  destination: string,
  flags: LinkFlags,
  action: (line: EndLine) => Promise<Result>,
): Promise<Result> {
  const { ssh } = await readSshOptions(context, destination, flags);
  await using connection = await connectSsh({ ...ssh, runtime: context.runtime }, context.oneShotSignal);
  const program = farCommand(flags.remoteOpenclaw, { port: flags.remotePort, stateDir: flags.remoteStateDir });
  await using line = overChannel(
    context,
    await startCommand(connection, program),
    formatDestination(ssh),
    cutOf(connection),
  );
  return await action(line);
}

/** What is needed to get there again. Files with secrets are named, and secrets are not among them. */
function wayFlags(flags: LinkFlags): Readonly<Record<string, unknown>> {
  const { detach: _detach, name: _name, oneWay: _oneWay, ...way } = flags;
  return JSON.parse(JSON.stringify(way)) as Record<string, unknown>;
}

/** Tells whether a connection is lost. */
function cutOf({ closed }: SshConnection): () => boolean {
  let isCut = false;
  void closed.then(() => {
    isCut = true;
  });
  return () => isCut;
}

/** Milliseconds for taking back what a broken end did. */
const takeBackMs = 15_000;

/** True when the end has nothing of the link any more. */
async function undo(line: EndLine): Promise<boolean> {
  if (line.isOver || !line.hasSpoken) return false;
  try {
    await line.ask("undo");
    return true;
  } catch {
    return false;
  }
}

function leftover(where: string, peer: string | undefined, reason: unknown): string {
  const why = reason instanceof Error ? reason.message : String(reason);
  return `what was begun on ${where} is still there (${why}): there, openclaw pair unlink ${peer ?? "…"} takes it back`;
}

function withLeftovers(failure: unknown, left: readonly string[]): unknown {
  if (!(failure instanceof OpenClawError)) return failure;
  const { code, message, hint, fix, details } = failure;
  return new OpenClawError(code, message, {
    hint: [...(hint === undefined ? [] : [hint]), ...left].join("; "),
    fix,
    details: { ...details, left },
    cause: failure,
  });
}

/** An end that looks finds what an earlier one has left. With a device id also what that one has kept of the link with it. */
async function takeBack(open: () => EndLine | Promise<EndLine>, deviceId?: string): Promise<void> {
  await using line = await open();
  await line.ask("look");
  if (deviceId !== undefined) await line.ask("remove", { deviceId });
}

function asked(): OpenClawError {
  return new OpenClawError("failed", "the link was closed");
}

function tooSlow(cause: unknown): OpenClawError {
  const details = cause instanceof OpenClawError ? cause.details : undefined;
  const step = typeof details?.["step"] === "string" ? details["step"] : "look";
  return new OpenClawError("timeout", `step "${step}": the link was not up within ${setUpMs / 1000} s`, {
    hint: "both sides are as they were; run it again with --verbose",
    details: { step, timeoutMs: setUpMs },
    cause,
  });
}
