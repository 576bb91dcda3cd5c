/**
 * `kill -9` of the gateway or of the node at every step of a rotation. Whichever it is, and wherever: at that moment the node's disk holds a
 * token that the gateway's store knows, and when the dead one is back both end up with the new token alone.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "rolldown";
import { afterAll, beforeAll, expect, test } from "vitest";
import { connectGateway } from "../../src/client/connect-gateway.ts";
import { originOf } from "../../src/client/open-session.ts";
import { createIdentity } from "../../src/identity/device-identity.ts";
import type { DeviceRecord } from "../../src/pairing/records.ts";
import { liveHashes } from "../../src/pairing/token-handover.ts";
import { hashSecret, Secret } from "../../src/secret.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { TokenFile } from "../../src/state/token-memory.ts";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import { type KillingTap, startKillingTap } from "../support/killing-tap.ts";
import { startNode } from "../support/node-host.ts";
import { Recorder } from "../support/recorder.ts";
import { everyScope, sharedToken, startGateway } from "../support/world.ts";

let programs: string;
beforeAll(async () => {
  programs = mkdtempSync(join(tmpdir(), "openclaw-rotation-"));
  for (const name of ["rotation-gateway", "rotation-node"]) {
    const input = fileURLToPath(new URL(`../support/${name}.ts`, import.meta.url));
    const file = join(programs, `${name}.mjs`);
    await build({ input, platform: "node", output: { file, format: "esm", codeSplitting: false } });
  }
});
afterAll(() => rmSync(programs, { recursive: true, force: true }));

const frames = [
  "gateway device.token.rotated",
  "node device.token.delivered",
  "gateway device.token.delivered",
  "node connect", // the proof
  "gateway connect",
] as const;

/** The node goes on, and nothing but the new token is left on either side. */
const moved = { oldIsValid: false, connected: [true], isNewOne: [true] };

type Victim = "gateway" | "node";

test.each<[victim: Victim, frame: string]>(
  frames.flatMap((frame): [Victim, string][] => [
    ["gateway", frame],
    ["node", frame],
  ]),
)("the %s is killed at the frame `%s`", async (victim, frame) => {
  await using scene = await startScene();
  const isDead = Promise.withResolvers<void>();
  scene.tap.arm({
    frame,
    act: async () => {
      await scene.kill(victim);
      isDead.resolve();
    },
  });
  await scene.rotate();
  await isDead.promise;
  expect(await scene.workingTokens()).not.toEqual([]);
  await scene.restart(victim);
  expect(await scene.whenMoved()).toEqual(moved);
});

test.each<[when: "before" | "after", write: number, what: string]>([
  ["before", 1, "the new token is written down"],
  ["after", 1, "the new token is written down"],
  ["before", 2, "the old token is dropped"],
  ["after", 2, "the old token is dropped"],
])("the node is killed %s write %i: %s", async (when, write) => {
  await using scene = await startScene([when, String(write)]);
  await scene.rotate();
  await scene.nodeEnds();
  expect(await scene.workingTokens()).not.toEqual([]);
  await scene.restart("node");
  expect(await scene.whenMoved()).toEqual(moved);
});

test("the gateway is killed while it rotates, whether it has written that or not", async () => {
  await using scene = await startScene();
  const rotation = scene.rotate().catch(() => {}); // nobody will answer
  await scene.kill("gateway");
  await rotation;
  expect(await scene.workingTokens()).not.toEqual([]);
  await scene.restart("gateway");
  await scene.rotate();
  expect(await scene.whenMoved()).toEqual(moved);
});

test("the gateway is killed as soon as it has answered", async () => {
  await using scene = await startScene();
  await scene.rotate();
  await scene.kill("gateway");
  expect(await scene.workingTokens()).not.toEqual([]);
  await scene.restart("gateway");
  expect(await scene.whenMoved()).toEqual(moved);
});

/** A program of this test, with the events that it tells. */
class Child {
  readonly process: ChildProcess;
  readonly events = new Recorder<Readonly<Record<string, unknown>>>();
  readonly exited: Promise<unknown>;

  constructor(program: string, args: readonly string[]) {
    this.process = spawn(process.execPath, [join(programs, `${program}.mjs`), ...args], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.exited = once(this.process, "exit");
    const { stdout } = this.process;
    if (stdout === null) throw new Error("no pipe");
    createInterface({ input: stdout }).on("line", (line) =>
      this.events.push(JSON.parse(line) as Readonly<Record<string, unknown>>),
    );
  }

  ready(): Promise<Readonly<Record<string, unknown>>> {
    return this.events.find(({ event }) => event === "ready");
  }

  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.exited;
  }
}

class Scene implements AsyncDisposable {
  readonly tap: KillingTap;
  readonly #directory: string;
  readonly #seed: Uint8Array;
  readonly #deviceId: string;
  #gateway: Child;
  #node: Child;
  #port: number;

  constructor(tap: KillingTap, directory: string, seed: Uint8Array, gateway: Child, port: number, node: Child) {
    this.tap = tap;
    this.#directory = directory;
    this.#seed = seed;
    this.#deviceId = createIdentity(seed, 0).deviceId;
    this.#gateway = gateway;
    this.#port = port;
    this.#node = node;
  }

  async rotate(): Promise<void> {
    await this.#asOperator((session) =>
      session.call("device.token.rotate", { deviceId: this.#deviceId, role: "node", overlapMs: 600_000 }),
    );
  }

  kill(victim: Victim): Promise<void> {
    return victim === "gateway" ? this.#gateway.kill() : this.#node.kill();
  }

  async nodeEnds(): Promise<void> {
    await this.#node.exited;
  }

  async restart(victim: Victim): Promise<void> {
    if (victim === "node") {
      this.#node = startNodeChild(this.tap, this.#directory, this.#seed);
      await this.#node.ready();
      return;
    }
    const from = this.#node.events.items.length;
    this.#gateway = new Child("rotation-gateway", [join(this.#directory, "gateway.sqlite")]);
    this.#port = Number((await this.#gateway.ready())["port"]);
    this.tap.pointTo(this.#port);
    await this.#node.events.find(({ event }) => event === "ready", from);
  }

  /** What of the node's disk opens a session at a gateway with this store. */
  async workingTokens(): Promise<readonly string[]> {
    const hashes = liveHashes(await this.#record());
    return (await this.#held()).filter((token) => hashes.includes(hashSecret(token)));
  }

  /** How both sides stand once the new token was used and the node has dropped the old one. */
  async whenMoved() {
    const { rotation, nodes } = await this.#asOperator(async (session) => {
      for (;;) {
        const [rotation] = (await session.call("device.token.progress", {})).rotations;
        const { nodes } = await session.call("node.list", {});
        if (rotation?.state === "confirmed" && nodes[0]?.connected === true) return { rotation, nodes };
        await systemRuntime.sleep(20);
      }
    });
    let held = await this.#held();
    for (; held.length > 1; held = await this.#held()) await systemRuntime.sleep(20);
    const { hash } = await this.#record();
    return {
      oldIsValid: rotation.oldIsValid,
      connected: nodes.map(({ connected }) => connected),
      isNewOne: held.map((token) => hashSecret(token) === hash),
    };
  }

  async #asOperator<Result>(
    action: (session: Awaited<ReturnType<typeof connectGateway>>) => Promise<Result>,
  ): Promise<Result> {
    await using session = await connectGateway({
      gateway: { url: `ws://127.0.0.1:${this.#port}` },
      client: { id: "gateway-client", mode: "backend", version: "1", platform: "linux" },
      role: "operator",
      scopes: everyScope,
      credential: { kind: "token", secret: new Secret(sharedToken) },
      timeoutMs: 20_000,
    });
    return await action(session);
  }

  /** The tokens that the node would try, in this order. */
  async #held(): Promise<readonly string[]> {
    const key = { gateway: originOf(this.tap.url), deviceId: this.#deviceId, role: "node" };
    const remembered = await tokensIn(this.#directory).recall(key);
    return [remembered?.token, remembered?.previous].flatMap((token) => (token === undefined ? [] : [token.reveal()]));
  }

  async #record() {
    await using store = await openSqliteStore(join(this.#directory, "gateway.sqlite"));
    const record = (await store.all<DeviceRecord>("devices")).get(this.#deviceId)?.tokens["node"];
    if (record === undefined) throw new Error("the store has lost the token");
    return record;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#node.kill(), this.#gateway.kill()]);
    await this.tap[Symbol.asyncDispose]();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

const tokensIn = (directory: string) => new TokenFile(join(directory, "device-tokens.json"), systemRuntime);

/** A gateway and a node that is connected with its device token, and dies as it is told. */
async function startScene(death: readonly string[] = []): Promise<Scene> {
  const directory = mkdtempSync(join(tmpdir(), "openclaw-rotation-"));
  const seed = systemRuntime.random(32);
  const tap = await startKillingTap();
  await approve(directory, seed, tap);
  const gateway = new Child("rotation-gateway", [join(directory, "gateway.sqlite")]);
  const port = Number((await gateway.ready())["port"]);
  tap.pointTo(port);
  const node = startNodeChild(tap, directory, seed, death);
  await node.ready();
  return new Scene(tap, directory, seed, gateway, port, node);
}

function startNodeChild(tap: KillingTap, directory: string, seed: Uint8Array, death: readonly string[] = []): Child {
  const hex = Buffer.from(seed).toString("hex");
  return new Child("rotation-node", [tap.url, join(directory, "device-tokens.json"), hex, ...death]);
}

/** Pairs the node through the tap, at a gateway of this process that leaves its store behind. */
async function approve(directory: string, seed: Uint8Array, tap: KillingTap): Promise<void> {
  await using world = await startGateway({ store: join(directory, "gateway.sqlite") });
  tap.pointTo(world.gateway.port);
  await using node = startNode(tap.url, { identity: createIdentity(seed, 0), memory: tokensIn(directory) });
  const device = await node.event("pairing-required");
  await world.gateway.approve(device.requestId);
  const surface = await node.event("pairing-required", node.events.items.indexOf(device) + 1);
  await world.gateway.approve(surface.requestId);
  await node.event("ready");
}
