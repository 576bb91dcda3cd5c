/** `pair link` with the product's gateway on the far side, on the near side, and on both. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { at } from "../support/raw-client.ts";
import { binPath, SpawnedCli } from "../support/run-cli.ts";
import { type Sshd, startSshd } from "../support/sshd.ts";
import type { Version } from "./install.ts";
import { OurGateway } from "./our-gateway.ts";
import { ProductGateway } from "./product.ts";
import { interopVersions } from "./versions.ts";

let sshd: Sshd;
beforeAll(async () => {
  sshd = await startSshd();
});
afterAll(() => sshd[Symbol.asyncDispose]());

/** A machine with a gateway, whosever it is, and our CLI. */
interface Machine extends AsyncDisposable {
  readonly home: { readonly directory: string; readonly stateDir: string };
  readonly port: number;
}

function openclaw(machine: Machine, line: string): SpawnedCli {
  const env = { PATH: process.env["PATH"], HOME: machine.home.directory, OPENCLAW_STATE_DIR: machine.home.stateDir };
  return new SpawnedCli(`${line} --json`, { env });
}

function link(near: Machine, far: Machine): SpawnedCli {
  const ssh = `${sshd.user}@127.0.0.1:${sshd.port} -i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile} -F none`;
  const there = `--remote-openclaw '${process.execPath} ${binPath}' --remote-state-dir ${far.home.stateDir}`;
  return openclaw(near, `pair link ${ssh} ${there} --local-port ${near.port} --remote-port ${far.port} --name pantry`);
}

describe.each(interopVersions)("%s", (version) => {
  const product = (of: Version) => ProductGateway.start({ version: of });
  const makesInvites = version !== "2026.3.8";

  describe.runIf(!makesInvites)("pair link", () => {
    test("ours there, its gateway here", async ({ annotate }) => {
      await using near: Machine = await product(version);
      await using far: Machine = await OurGateway.start();
      const { stdout, code } = await link(near, far).ended;
      const failure: unknown = JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
      const expected = { error: { code: "incompatible", details: { step: "admit" } } };
      expect({ code, failure }).toMatchObject({ code: 10, failure: expected });
      await annotate(`${version} makes no invites, and its own secret stays on its machine: our CLI says so`, "no");
    });
  });

  describe.runIf(makesInvites)("pair link", () => {
    test.for<readonly [string, () => Promise<Machine>, () => Promise<Machine>]>([
      ["its gateway there, ours here", () => OurGateway.start(), () => product(version)],
      ["ours there, its gateway here", () => product(version), () => OurGateway.start()],
      ["its gateway on both sides", () => product(version), () => product(version)],
    ])("%s", async ([, startNear, startFar]) => {
      await using near: Machine = await startNear();
      await using far: Machine = await startFar();
      await using linking = link(near, far);
      const linked = await linking.event("linked");
      expect(linked).toMatchObject({ toRemote: { verified: true }, toLocal: { verified: true } });

      await using status = openclaw(near, "pair status --port " + String(near.port));
      expect((await status.ended).json).toMatchObject({
        peers: [{ name: "pantry", state: "up", toRemote: { state: "ready" }, toLocal: { state: "ready" } }],
      });
      await using unlinking = openclaw(near, "pair unlink pantry");
      expect((await unlinking.ended).json).toMatchObject({ ok: true, here: true, there: true });
      expect((await linking.ended).code).toBe(0);
      for (const [machine, direction] of [
        [far, "toRemote"],
        [near, "toLocal"],
      ] as const) {
        await using asked = openclaw(machine, `devices list --port ${machine.port}`);
        const { json } = await asked.ended;
        expect(JSON.stringify(at(json, "paired"))).not.toContain(String(at(at(linked, direction), "deviceId")));
      }
    });
  });
});
