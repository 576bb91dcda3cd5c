/** `pair link`: two gateways, sshd, and everything that may go wrong between them. */
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { linkSteps } from "../../src/link/join-ends.ts";
import { at, listAt } from "../support/raw-client.ts";
import { binPath, CliHome, type SpawnedCli } from "../support/run-cli.ts";
import { type Sshd, startSshd } from "../support/sshd.ts";

let sshd: Sshd;
beforeAll(async () => {
  sshd = await startSshd();
});
afterAll(() => sshd[Symbol.asyncDispose]());

/** A machine with a gateway on it. */
class Machine implements AsyncDisposable {
  readonly home = new CliHome();
  #gateway: SpawnedCli | undefined;

  async start(): Promise<this> {
    this.#gateway = this.home.spawn("gateway run --port 0 --json");
    await this.#gateway.event("ready");
    return this;
  }

  /** Its gateway again, on another port. */
  async restart(): Promise<void> {
    await this.#gateway?.stop();
    await this.start();
  }

  get gatewayPid(): number {
    return this.#gateway?.pid ?? 0;
  }

  async ask(line: string): Promise<unknown> {
    const { json, stderr } = await this.home.run(`${line} --json`);
    if (at(json, "ok") !== true) throw new Error(`${line}: ${stderr}`);
    return json;
  }

  /** What a link could have left here. */
  async remains(): Promise<object> {
    const devices = await this.ask("devices list");
    return {
      paired: listAt(devices, "paired").map((device) => at(device, "deviceId")),
      pending: listAt(devices, "pending").length,
      links: this.links(),
      tokens: this.#tokens(),
    };
  }

  links(): readonly unknown[] {
    const directory = this.home.path(".openclaw", "toolkit", "links");
    return names(directory)
      .filter((name) => name.endsWith(".json"))
      .map((name): unknown => JSON.parse(readFileSync(`${directory}/${name}`, "utf8")));
  }

  #tokens(): number {
    try {
      return listAt(JSON.parse(readFileSync(`${this.home.toolkitDir}/identity/device-tokens.json`, "utf8")), "tokens")
        .length;
    } catch {
      return 0;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#gateway?.[Symbol.asyncDispose]();
    this.home[Symbol.dispose]();
  }
}

function names(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

const clean = { paired: [], pending: 0, links: [], tokens: 0 };

function words(there: Machine, more = ""): string {
  const ssh = `${sshd.user}@127.0.0.1:${sshd.port} -i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile} -F none`;
  return `pair link ${ssh} --remote-openclaw '${process.execPath} ${binPath}' --remote-state-dir ${there.home.stateDir} ${more} --json`;
}

async function twoMachines() {
  const started = new AsyncDisposableStack();
  const [here, there] = await Promise.all([new Machine().start(), new Machine().start()]);
  started.use(here);
  started.use(there);
  return { here, there, [Symbol.asyncDispose]: () => started.disposeAsync() };
}

test("both gateways are nodes of each other, and unlink takes everything back", async () => {
  await using machines = await twoMachines();
  const { here, there } = machines;
  await using link = here.home.spawn(words(there, "--name pantry"));
  const linked = await link.event("linked");
  expect(linked).toMatchObject({
    peer: "pantry",
    toRemote: { paired: true, verified: true, latencyMs: expect.any(Number) },
    toLocal: { paired: true, verified: true, latencyMs: expect.any(Number) },
  });
  // The keys, and nothing else, were let in.
  const [paired] = listAt(await there.ask("devices list"), "paired");
  expect(paired).toMatchObject({ deviceId: at(at(linked, "toRemote"), "deviceId"), roles: ["node"], scopes: [] });
  expect(await here.ask("pair status")).toMatchObject({
    peers: [{ name: "pantry", state: "up", pid: link.pid, toRemote: { state: "ready" }, toLocal: { state: "ready" } }],
  });
  expect(await there.ask("pair status")).toMatchObject({
    peers: [{ state: "kept-there", toRemote: { state: "ready" }, toLocal: { state: "ready" } }],
  });
  expect(await here.ask("tunnel list")).toMatchObject({ tunnels: [{ name: "pantry", state: "up" }] });

  expect(await here.ask("pair unlink pantry")).toMatchObject({ peer: "pantry", here: true, there: true });
  expect((await link.ended).code).toBe(0);
  expect([await here.remains(), await there.remains()]).toEqual([clean, clean]);
});

test("a link that is up is left alone, and one that lost something gets it back", async () => {
  await using machines = await twoMachines();
  const { here, there } = machines;
  await using link = here.home.spawn(words(there));
  const { toRemote } = await link.event("linked");
  await using again = here.home.spawn(words(there));
  expect(await again.event("linked")).toMatchObject({ isUpAlready: true, pid: link.pid });
  expect((await again.ended).code).toBe(0);

  await there.ask(`devices remove ${String(at(toRemote, "deviceId"))}`);
  expect((await link.ended).code).toBe(4);
  const before = here.links();
  await using repaired = here.home.spawn(words(there));
  expect(await repaired.event("linked")).toMatchObject({ toRemote: { verified: true }, toLocal: { verified: true } });
  expect(here.links()).toEqual(before);
});

test("new keys on both machines are taken along: the link goes on, is made again as it was, and ends without a trace", async () => {
  await using machines = await twoMachines();
  const { here, there } = machines;
  {
    await using link = here.home.spawn(words(there));
    await link.event("linked");
    for (const machine of [here, there]) {
      const from = link.events.items.length;
      const rotated = await machine.ask("identity rotate");
      expect(rotated).toMatchObject({ complete: true, gateways: [{ state: "moved" }] });
      await link.event("node", from, { direction: machine === here ? "toRemote" : "toLocal", what: "ready" });
    }
    expect(await here.ask("pair status")).toMatchObject({
      peers: [{ toRemote: { state: "ready" }, toLocal: { state: "ready", latencyMs: expect.any(Number) } }],
    });
    expect((await link.stop("SIGINT")).code).toBe(0);
  }
  const ids = await Promise.all(
    [here, there].map(async (machine) => at(await machine.ask("identity show"), "deviceId")),
  );
  await using again = here.home.spawn(words(there));
  expect(await again.event("linked")).toMatchObject({
    toRemote: { deviceId: ids[0], verified: true },
    toLocal: { deviceId: ids[1], verified: true },
  });
  expect([here, there].map((machine) => machine.links().map((record) => at(at(record, "peer"), "deviceId")))).toEqual([
    [ids[1]],
    [ids[0]],
  ]);
  // Once more, so that the records name keys that are gone when they are taken back.
  await here.ask("identity rotate");
  await there.ask("identity rotate");
  await here.ask(`pair unlink ${String(at(here.links()[0], "name"))}`);
  await again.ended;
  expect([await here.remains(), await there.remains()]).toEqual([clean, clean]);
});

test.each([
  ["to-remote", "toRemote", "toLocal"],
  ["to-local", "toLocal", "toRemote"],
])("--one-way %s makes one node", async (direction, there, notThere) => {
  await using machines = await twoMachines();
  await using link = machines.here.home.spawn(words(machines.there, `--one-way ${direction}`));
  const linked = await link.event("linked");
  expect(linked).toHaveProperty(there);
  expect(linked).not.toHaveProperty(notThere);
});

test("comes back by itself after the connection was cut, and after an end was killed", async () => {
  await using machines = await twoMachines();
  const { here, there } = machines;
  await using link = here.home.spawn(words(there));
  await link.event("linked");
  const ready = (direction: string, from: number) => link.event("node", from, { direction, what: "ready" });
  let from = link.events.items.length;
  await sshd.killSessions();
  await Promise.all([ready("toRemote", from), ready("toLocal", from)]);
  from = link.events.items.length;
  for (const pid of endsOf(link.pid)) process.kill(pid, "SIGKILL");
  await ready("toRemote", from);
  expect(await here.ask("pair status")).toMatchObject({
    peers: [{ toRemote: { state: "ready" }, toLocal: { state: "ready" } }],
  });
});

test("stays up in the background with --detach", async () => {
  await using machines = await twoMachines();
  const { here, there } = machines;
  const started = await here.home.spawn(words(there, "--detach --name pantry")).ended;
  expect(started.json).toMatchObject({ ok: true, name: "pantry" });
  expect(await here.ask("pair status")).toMatchObject({
    peers: [{ name: "pantry", state: "up", pid: at(started.json, "pid") }],
  });
  await here.ask("pair unlink pantry");
  expect([await here.remains(), await there.remains()]).toEqual([clean, clean]);
});

test("made again it has what it had and what is asked for, under its name, also when a gateway has moved", async () => {
  await using machines = await twoMachines();
  const { here, there } = machines;
  const link = async (more = "") => (await here.home.spawn(words(there, `--detach ${more}`)).ended).json;
  expect(await link("--one-way to-remote --name pantry")).toMatchObject({
    event: "linked",
    toRemote: { verified: true },
  });
  const both = { name: "pantry", toRemote: { verified: true }, toLocal: { verified: true } };
  expect(await link()).toMatchObject({ ...both, here: { fingerprint: expect.any(String) } });
  expect(await link("--one-way to-local")).toMatchObject({ isUpAlready: true, toRemote: { verified: true } });
  await there.restart();
  expect(await link()).toMatchObject(both);
  await here.ask("pair unlink pantry");
  expect([await here.remains(), await there.remains()]).toEqual([clean, clean]);
  expect(await here.ask("identity rotate")).toMatchObject({ complete: true, gateways: [] });
});

test("a device that was removed ends the link with words that say so, in its log too", async () => {
  await using machines = await twoMachines();
  const { here, there } = machines;
  await using link = here.home.spawn(words(there, "--name pantry"));
  const { toRemote } = await link.event("linked");
  await there.ask(`devices remove ${String(at(toRemote, "deviceId"))}`);
  const { code, stdout } = await link.ended;
  expect({ code, last: JSON.parse(stdout.trim().split("\n").at(-1) ?? "") }).toMatchObject({
    code: 4,
    last: {
      error: {
        message: expect.stringContaining("no longer lets this machine in"),
        hint: expect.stringContaining("pair link"),
      },
    },
  });
  const { stdout: log } = await here.home.run("tunnel logs pantry");
  expect(log).toContain("no longer lets this machine in");
});

test("a command there that never answers is named as such, in the time that was given", async () => {
  await using machines = await twoMachines();
  const { here, there } = machines;
  const line = words(there, "--timeout 2s").replace(/--remote-openclaw '[^']*'/u, "--remote-openclaw 'sleep 300; :'");
  const { code, json, stdout } = await here.home.spawn(line).ended;
  const last: unknown = json ?? JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
  expect({ code, last }).toMatchObject({
    code: 3,
    last: { error: { code: "timeout", message: expect.stringContaining('step "look"') } },
  });
});

describe("a process that is killed after a step leaves nothing half done", () => {
  const matrix = [
    ...linkSteps.map((step) => [step, "link"] as const),
    ...(["begin", "admit", "join"] as const).flatMap((step) => [
      [step, "near end"] as const,
      [step, "far end"] as const,
    ]),
  ];

  test.each(matrix)("%s: the %s", async (step, victim) => {
    await using machines = await twoMachines();
    const { here, there } = machines;
    await using link = here.home.spawn(words(there));
    await link.event("step", 0, { step });
    const near = endsOf(link.pid);
    const far = endsIn(there);
    for (const pid of victim === "link" ? [link.pid] : victim === "near end" ? near : far) process.kill(pid, "SIGKILL");
    // An end that was killed only after the link was up is brought back by it.
    const isUp = await Promise.race([
      link.ended.then(() => false),
      link.event("linked").then(
        () => true,
        () => false,
      ),
    ]);
    const { stdout } = isUp && victim !== "link" ? await link.stop("SIGINT") : await link.ended;
    const steps = victim === "link" ? [undefined] : linkSteps;
    expect(isUp || steps.includes(failedStep(stdout) as never)).toBe(true);
    await gone([...near, ...far]);
    // Both have it, or the near one alone, whose user sees it; or nobody has anything of it.
    const [kept, keptThere] = [here.links(), there.links()];
    expect([...kept, ...keptThere].map((record) => at(record, "state"))).not.toContain("setting-up");
    expect(keptThere.length).toBeLessThanOrEqual(kept.length);
    const forgetful = [here, there].filter((machine) => machine.links().length === 0);
    expect(await Promise.all(forgetful.map((machine) => machine.remains()))).toEqual(forgetful.map(() => clean));

    await using again = here.home.spawn(words(there));
    expect(await again.event("linked")).toMatchObject({ toRemote: { verified: true }, toLocal: { verified: true } });
    await here.ask(`pair unlink ${String(at(here.links()[0], "name"))}`);
    await again.ended;
    expect([await here.remains(), await there.remains()]).toEqual([clean, clean]);
  });
});

/** The step that the last line of the output blames, if it tells of a failure. */
function failedStep(stdout: string): unknown {
  const last: unknown = JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
  return at(at(at(last, "error"), "details"), "step");
}

/** The processes that a link has started on its own machine. */
function endsOf(pid: number): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/u.test(name))
    .filter((name) => parentOf(name) === pid)
    .map(Number);
}

function parentOf(pid: string): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return undefined;
  }
}

async function gone(pids: readonly number[]): Promise<void> {
  await expect.poll(() => pids.filter((pid) => names("/proc").includes(String(pid))), { timeout: 20_000 }).toEqual([]);
}

/** The process that is the far end of a link to this machine. */
function endsIn({ home }: Machine): readonly number[] {
  return names("/proc")
    .filter((name) => /^\d+$/u.test(name))
    .filter((name) => {
      const words = commandLine(name);
      return words.includes(home.stateDir) && words.includes("end") && !words.includes("-c");
    })
    .map(Number);
}

function commandLine(pid: string): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}
