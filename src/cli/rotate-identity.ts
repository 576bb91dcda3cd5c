/**
 * `identity rotate`: every gateway that this machine remembers is told of the new key by the old one, and the new one becomes this machine's
 * key when they have said yes. Cut short anywhere, the next run goes on from what `state/key-rotation.ts` has written down.
 */
import type { GatewaySession } from "../client/gateway-session.ts";
import type { GatewayAddress } from "../client/connect-gateway.ts";
import { openSession, originOf } from "../client/open-session.ts";
import { isFailure, OpenClawError } from "../errors.ts";
import type { DeviceIdentity } from "../identity/device-identity.ts";
import { signSuccession } from "../identity/key-succession.ts";
import { describePlatform } from "../node/platform.ts";
import type { Role } from "../protocol/vocabulary.ts";
import { readIdentityFile } from "../state/identity-file.ts";
import {
  beginRotation,
  endRotation,
  hasSwitched,
  type KeyRotation,
  type MoveState,
  noteGateway,
  oldKeyPath,
  readRotation,
  rotationKey,
  type RotationParts,
  switchKeys,
} from "../state/key-rotation.ts";
import { liveRecords } from "../state/run-record.ts";
import type { TokenFile } from "../state/token-memory.ts";
import { withLock } from "../store/lock.ts";
import { version } from "../version.ts";
import { findTarget } from "./command-target.ts";
import type { Context } from "./context.ts";

export interface RotateChoices {
  /** Go on although some gateways cannot be moved now. */
  readonly goOn: (problems: readonly GatewayMove[]) => Promise<boolean>;
  /** Forget the old key although some gateways know no other. */
  readonly finish: boolean;
  readonly insecureWs: boolean;
}

/** What became of one gateway, and what a person has to do about it. */
export interface GatewayMove {
  readonly url: string;
  readonly state: MoveState;
  readonly problem?: string;
  /** To paste: here, and on the gateway's own host. */
  readonly commands?: readonly string[];
}

export interface RotatedIdentity {
  readonly deviceId: string;
  readonly previousDeviceId: string;
  /** True when no gateway needs the old key any more, and it is gone. */
  readonly complete: boolean;
  /** Where the old key is until then. */
  readonly oldKey?: string;
  readonly gateways: readonly GatewayMove[];
}

const cannotMove = "it cannot move an approval to a new key: the new one has to be approved there as a new device";

/** One gateway with a session as one of the two keys, or why there is none. */
type Visit =
  | { readonly url: string; readonly session: GatewaySession; readonly as: "previous" | "next" }
  | { readonly url: string; readonly session?: undefined; readonly failure: unknown };

/** Rotates, or goes on with the rotation that was cut short. `conflict` when gateways cannot be moved and `goOn` says no: then nothing was sent. */
export async function rotateIdentity(context: Context, choices: RotateChoices): Promise<RotatedIdentity> {
  const { identity, identityRotation } = context.paths();
  return withLock(
    `${identityRotation}.lock`,
    async () => {
      const { runtime } = context;
      const place = { identity, rotation: identityRotation };
      const parts = { place, secrets: await context.secrets(), runtime };
      await using journey = new Journey(context, parts, await context.tokens(), choices);
      return await journey.run();
    },
    { runtime: context.runtime },
  );
}

class Journey implements AsyncDisposable {
  readonly #context: Context;
  readonly #parts: RotationParts;
  readonly #memory: TokenFile;
  readonly #choices: RotateChoices;
  /** Milliseconds for one gateway, however long all of them may take. */
  readonly #attemptMs: number;
  readonly #sessions = new AsyncDisposableStack();
  readonly #problems = new Map<string, string>();

  constructor(context: Context, parts: RotationParts, memory: TokenFile, choices: RotateChoices) {
    this.#context = context;
    this.#parts = parts;
    this.#memory = memory;
    this.#choices = choices;
    this.#attemptMs = context.timeoutMs;
  }

  async run(): Promise<RotatedIdentity> {
    const begun = await readRotation(this.#parts.place);
    if (begun === undefined && this.#choices.finish) throw nothingToFinish();
    const { rotation: open, visits } = begun === undefined ? await this.#begin() : await this.#resume(begun);
    let rotation = open;
    for (const visit of visits) rotation = await this.#settle(rotation, visit);
    if (!(await this.#maySwitch(rotation))) throw await this.#stopped(rotation);
    await switchKeys(this.#parts.place, rotation);
    this.#step("switched");
    // From here on the gateways may end what the old key had opened: who comes again, comes with the new one.
    await this.#sessions.disposeAsync();
    const complete = this.#choices.finish || rotation.gateways.every(isDone);
    const gateways = await this.#moves(rotation, complete);
    if (complete) await this.#end(rotation);
    const { deviceId, previousDeviceId } = rotation;
    return {
      deviceId,
      previousDeviceId,
      complete,
      ...(complete ? {} : { oldKey: oldKeyPath(this.#parts.place, rotation) }),
      gateways,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sessions.disposeAsync();
  }

  /** Looks at every gateway before anything is written: whoever says no finds everything as it was. */
  async #begin(): Promise<{ readonly rotation: KeyRotation; readonly visits: readonly Visit[] }> {
    const file = await readIdentityFile(this.#parts.place.identity);
    const urls = file === undefined ? [] : await this.#gatewaysOf(file.identity.deviceId);
    const present = urls.length === 0 ? undefined : await this.#context.identity();
    this.#context.extendTimeout((urls.length + 1) * this.#attemptMs);
    const visits =
      present === undefined ? [] : await Promise.all(urls.map((url) => this.#visit(url, present, "previous")));
    const problems = visits.filter((visit) => !canMove(visit)).map((visit) => describeObstacle(visit));
    if (problems.length > 0 && !(await this.#choices.goOn(problems))) throw refused(problems);
    const rotation = await beginRotation(this.#parts, urls);
    this.#step("begun");
    return { rotation, visits };
  }

  async #resume(rotation: KeyRotation): Promise<{ readonly rotation: KeyRotation; readonly visits: readonly Visit[] }> {
    const open = rotation.gateways.filter((gateway) => !isDone(gateway));
    this.#context.output.note(`going on with the rotation from ${new Date(rotation.startedAtMs).toISOString()}`);
    this.#context.extendTimeout((2 * open.length + 1) * this.#attemptMs);
    if (open.length === 0) return { rotation, visits: [] };
    const previous = await rotationKey(this.#parts, rotation, "previous");
    const next = await rotationKey(this.#parts, rotation, "next");
    const known = new Set(await this.#gatewaysOf(rotation.deviceId));
    const visits = open.map(async ({ url, state }): Promise<Visit> => {
      // Who may know the new key already is asked with that first: by a method of ours, or because somebody has approved it.
      if (state === "sent" || (state === "unsupported" && known.has(url))) {
        const visit = await this.#visit(url, next, "next");
        if (visit.session !== undefined || isFailure(visit.failure, "unreachable", "timeout")) return visit;
      }
      return this.#visit(url, previous, "previous");
    });
    return { rotation, visits: await Promise.all(visits) };
  }

  /** Tells one gateway, if it has to be told and can be; returns the rotation as it is then. */
  async #settle(rotation: KeyRotation, visit: Visit): Promise<KeyRotation> {
    const { place } = this.#parts;
    const { url } = visit;
    const before = rotation.gateways.find((gateway) => gateway.url === url)?.state;
    if (visit.session === undefined) {
      this.#problems.set(url, reasonOf(visit.failure, url));
      return rotation;
    }
    if (visit.as === "next") {
      return noteGateway(place, rotation, url, before === "unsupported" ? "approved" : "moved");
    }
    if (!canMove(visit)) return noteGateway(place, rotation, url, "unsupported");
    await this.#copyTokens(rotation, url);
    const told = await noteGateway(place, rotation, url, "sent");
    this.#step("sent", url);
    try {
      await this.#tell(rotation, visit.session);
    } catch (error) {
      this.#problems.set(url, reasonOf(error));
      // A gateway that answered no has changed nothing. One that did not answer may have.
      return isFailure(error, "unreachable", "timeout") ? told : noteGateway(place, told, url, "pending");
    }
    this.#step("answered", url);
    const moved = await noteGateway(place, told, url, "moved");
    this.#step("moved", url);
    return moved;
  }

  async #tell(rotation: KeyRotation, session: GatewaySession): Promise<void> {
    const previous = await rotationKey(this.#parts, rotation, "previous");
    const next = await rotationKey(this.#parts, rotation, "next");
    await session.call("device.key.rotate", signSuccession(previous, next, session.hello.server.connId));
  }

  /** The gateway keeps the device's tokens; so do we, under its new name. */
  async #copyTokens({ previousDeviceId, deviceId }: KeyRotation, url: string): Promise<void> {
    for (const { gateway, role } of await this.#rowsOf(previousDeviceId)) {
      if (gateway !== url) continue;
      const token = await this.#memory.recall({ gateway, role, deviceId: previousDeviceId });
      if (token !== undefined) await this.#memory.remember({ gateway, role, deviceId }, token);
    }
  }

  async #maySwitch(rotation: KeyRotation): Promise<boolean> {
    if (await hasSwitched(this.#parts.place, rotation)) return true;
    const late = (await this.#moves(rotation, false)).filter(({ state }) => state === "pending" || state === "sent");
    return late.length === 0 || this.#choices.goOn(late);
  }

  async #end(rotation: KeyRotation): Promise<void> {
    for (const { gateway, role, deviceId } of await this.#rowsOf(rotation.previousDeviceId)) {
      await this.#memory.forget({ gateway, role, deviceId });
    }
    this.#step("forgotten");
    await endRotation(this.#parts, rotation);
  }

  async #visit(url: string, identity: DeviceIdentity, as: "previous" | "next"): Promise<Visit> {
    try {
      const session = await this.#connect(url, identity);
      this.#sessions.use(session);
      return { url, session, as };
    } catch (failure) {
      return { url, failure };
    }
  }

  async #connect(url: string, identity: DeviceIdentity): Promise<GatewaySession> {
    const context = this.#context;
    const roles = (await this.#rowsOf(identity.deviceId)).filter(({ gateway }) => gateway === url);
    const role: Role = roles.some((row) => row.role === "operator") ? "operator" : "node";
    const remembered = await this.#memory.recall({ gateway: url, deviceId: identity.deviceId, role });
    const line = await this.#lineTo(url);
    const { address } = await findTarget({
      // What crosses the network is inside SSH where a tunnel leads there.
      flags: { url, insecureWs: this.#choices.insecureWs || line !== undefined },
      prefersRunning: false,
      // A gateway's own headers may stand there; its credentials are not asked for here.
      env: headersFor(url, context.options.env),
      config: await context.config(),
      paths: context.paths(),
      stdin: context.streams.stdin,
      runtime: context.runtime,
    });
    const platform = describePlatform(process.platform);
    return openSession({
      gateway: { ...address, ...line },
      // A node's own connection is not pushed aside by a probe.
      client:
        role === "operator"
          ? { id: "cli", mode: "cli", version, ...platform }
          : { id: "node-host", mode: "probe", version, ...platform },
      role,
      scopes: role === "operator" ? (remembered?.scopes ?? []) : [],
      identity,
      // A token that is void for one of two keys is not void.
      memory: {
        recall: (key) => this.#memory.recall(key),
        remember: (key, token) => this.#memory.remember(key, token),
        forget: async () => {},
      },
      timeoutMs: this.#attemptMs,
      signal: context.oneShotSignal,
      callDefaults: { timeoutMs: this.#attemptMs, signal: context.oneShotSignal },
      runtime: context.runtime,
    });
  }

  /** Where a running node of ours dials that gateway through a tunnel: its name leads nowhere without it. */
  async #lineTo(url: string): Promise<Pick<GatewayAddress, "dialAt" | "tlsFingerprint"> | undefined> {
    const nodes = await liveRecords(this.#context.paths().runDir, "node");
    const found = nodes.find(({ gateway, dialPort }) => dialPort !== undefined && originOf(gateway) === url);
    if (found?.dialPort === undefined) return undefined;
    const { dialPort: port, tlsFingerprint } = found;
    return { dialAt: { host: "127.0.0.1", port }, ...(tlsFingerprint === undefined ? {} : { tlsFingerprint }) };
  }

  async #rowsOf(deviceId: string) {
    return (await this.#memory.list()).filter((row) => row.deviceId === deviceId);
  }

  async #gatewaysOf(deviceId: string): Promise<string[]> {
    return [...new Set((await this.#rowsOf(deviceId)).map(({ gateway }) => gateway))];
  }

  async #moves(rotation: KeyRotation, isOver: boolean): Promise<GatewayMove[]> {
    const rows = await this.#rowsOf(rotation.previousDeviceId);
    const again = this.#context.pasteable("openclaw identity rotate");
    return rotation.gateways.map(({ url, state }) => {
      const roles = rows.filter(({ gateway }) => gateway === url).map(({ role }) => role);
      const problem = state === "unsupported" ? cannotMove : this.#problems.get(url);
      const approvals = state === "unsupported" ? this.#approvals(rotation, url, roles) : [];
      const commands = isDone({ state }) || isOver ? approvals : [...approvals, again];
      return {
        url,
        state,
        ...(problem === undefined ? {} : { problem }),
        ...(commands.length === 0 ? {} : { commands }),
      };
    });
  }

  /** What takes the place of a rotation at a gateway that has none: asked for here, decided about there. */
  #approvals({ deviceId, previousDeviceId }: KeyRotation, url: string, roles: readonly string[]): string[] {
    return [
      ...roles.map((role) => this.#context.pasteable(`openclaw pair request --role ${role} --url ${url}`)),
      `openclaw devices approve ${deviceId}`,
      `openclaw devices remove ${previousDeviceId}`,
    ];
  }

  async #stopped(rotation: KeyRotation): Promise<OpenClawError> {
    const gateways = await this.#moves(rotation, false);
    return new OpenClawError("conflict", `not every gateway has taken the new key yet: ${listed(gateways)}`, {
      hint: "each gateway is spoken to with the key that it knows; run it again when they can be reached, or give --yes to go on without them",
      fix: "openclaw identity rotate",
      details: { deviceId: rotation.deviceId, previousDeviceId: rotation.previousDeviceId, gateways },
    });
  }

  #step(step: string, gateway?: string): void {
    this.#context.runtime.log("debug", "key rotation", { step, gateway });
  }
}

/** What the environment has for the gateway that it names: headers of an edge. Those of one gateway go to no other. */
function headersFor(url: string, env: Context["options"]["env"]): Context["options"]["env"] {
  const named = URL.parse(env["OPENCLAW_GATEWAY_URL"] ?? "");
  if (named === null || originOf(named.href) !== originOf(url)) return {};
  const { OPENCLAW_GATEWAY_HEADERS, CF_ACCESS_CLIENT_ID, CF_ACCESS_CLIENT_SECRET } = env;
  return { OPENCLAW_GATEWAY_HEADERS, CF_ACCESS_CLIENT_ID, CF_ACCESS_CLIENT_SECRET };
}

function canMove(visit: Visit): boolean {
  return visit.session?.hello.features.capabilities?.includes("device-key-rotate") === true;
}

function isDone({ state }: { readonly state: MoveState }): boolean {
  return state === "moved" || state === "approved";
}

function nothingToFinish(): OpenClawError {
  return new OpenClawError("conflict", "no rotation of this machine's key is under way", {
    hint: "--finish ends one that some gateways have not taken part in",
    fix: "openclaw identity rotate",
  });
}

function describeObstacle(visit: Visit): GatewayMove {
  if (visit.session !== undefined) return { url: visit.url, state: "unsupported", problem: cannotMove };
  return { url: visit.url, state: "pending", problem: reasonOf(visit.failure, visit.url) };
}

function refused(gateways: readonly GatewayMove[]): OpenClawError {
  return new OpenClawError("conflict", `some gateways cannot be given a new key now: ${listed(gateways)}`, {
    hint: "nothing was changed; --yes rotates all the same: these gateways go on with the old key until they are reached, or the new key is approved there",
    fix: "openclaw identity rotate --yes",
    details: { gateways },
  });
}

function listed(gateways: readonly GatewayMove[]): string {
  const open = gateways.filter((gateway) => !isDone(gateway));
  return open.map(({ url, problem }) => (problem === undefined ? url : `${url} (${problem})`)).join(", ");
}

function reasonOf(error: unknown, url = ""): string {
  // The name of a link leads somewhere while the link is up.
  if (URL.parse(url)?.hostname.endsWith(".link") === true && isFailure(error, "unreachable")) {
    return "its link is down: openclaw pair link brings it up";
  }
  return error instanceof Error ? error.message : String(error);
}
