/** The real `openclaw node run` on our gateway: one node's life from its first request to the loss of its role, in order. */
import { afterAll, beforeAll, describe, expect, test, type TestContext } from "vitest";
import { at, listAt, textAt } from "../support/raw-client.ts";
import { OurGateway, ourToken } from "./our-gateway.ts";
import { ProductHome, type ProductProcess, startProductNode } from "./product.ts";
import { interopVersions } from "./versions.ts";

const name = "kitchen";

describe.each(interopVersions)("%s", (version) => {
  /** Its node of 2026.3.8 ends, with code 0, on the first refusal and on every lost connection; a service manager starts it again. */
  const endsByItself = version === "2026.3.8";

  describe("its node -> our gateway", () => {
    let gateway: OurGateway;
    let home: ProductHome;
    let node: ProductProcess;

    beforeAll(async () => {
      gateway = await OurGateway.start();
      home = new ProductHome(version);
      home.writeConfig({});
    });

    afterAll(async () => {
      await node?.[Symbol.asyncDispose]();
      home?.[Symbol.dispose]();
      await gateway?.[Symbol.asyncDispose]();
    });

    const start = (token = ourToken) => {
      node = startProductNode(home, { port: gateway.port, token, displayName: name });
      return node;
    };

    const connect = async (token?: string) => {
      const from = gateway.now;
      start(token);
      await gateway.nodeCameIn(from);
    };

    /** Waits until the node is back: by itself, or in a new process where the old one ends. */
    const isBack = async (from: number, { annotate }: TestContext) => {
      if (!endsByItself) return gateway.nodeCameIn(from);
      const { code } = await node.ended;
      await annotate(`${version}'s node ends there, with code ${code}, and is started again`);
      return connect();
    };

    const which = () => gateway.ask(`nodes invoke ${name} system.which --params '{"bins":["sh"]}'`);
    const runEcho = () => gateway.run(`nodes invoke ${name} system.run --params '{"command":["/bin/echo","hello"]}'`);

    const allow = async (security: "deny" | "full") => {
      const nodeId = await nodeIdOf(gateway);
      const current = await gateway.ask(`call exec.approvals.node.get --params '{"nodeId":"${nodeId}"}'`);
      const params = {
        nodeId,
        baseHash: textAt(current, "result", "hash"),
        file: { version: 1, defaults: { security, ask: "off" }, agents: {} },
      };
      await gateway.ask(`call exec.approvals.node.set --params '${JSON.stringify(params)}'`);
    };

    test("a new node waits for a person, and is in after the approval", async (context) => {
      const from = gateway.now;
      const refused = await start().line(/pairing required: device is not approved yet \(requestId: \S+\)/u);
      const requestId = requestIdIn(refused);
      expect(await gateway.ask("devices list")).toMatchObject({
        pending: [{ requestId, displayName: name, role: "node", platform: "linux" }],
        paired: [],
      });
      await gateway.ask(`devices approve ${requestId}`);
      await isBack(from, context);
      expect(await gateway.ask("nodes list")).toMatchObject({
        nodes: [{ displayName: name, connected: true, paired: true, version, commands: [] }],
      });
    });

    test("its commands wait for the second approval, and work from then on without a reconnect", async () => {
      const early = await gateway.run(`nodes invoke ${name} system.which --params '{"bins":["sh"]}'`);
      expect(early).toMatchObject({ code: 5, json: { error: { code: "surface-approval-required" } } });
      await gateway.approveSurfaces();
      expect(await which()).toMatchObject({ ok: true, payload: { bins: { sh: expect.stringMatching(/\/sh$/u) } } });
    });

    test("its exec approvals are read and set through the gateway, and decide about system.run", async ({
      annotate,
    }) => {
      const ran = { code: 0, json: { payload: { exitCode: 0, stdout: "hello\n" } } };
      const refused = { code: 6, json: { error: { code: "command-not-allowed" } } };
      const isStrict = version === "2026.3.8";
      expect(await runEcho()).toMatchObject(isStrict ? refused : ran);
      if (isStrict) await annotate(`${version}'s node runs nothing until its exec approvals say so`);
      await allow("deny");
      expect(await runEcho()).toMatchObject(refused);
      await allow("full");
      expect(await runEcho()).toMatchObject(ran);
      const prepared = await gateway.ask(`nodes invoke ${name} system.run.prepare --params '{"command":["echo","x"]}'`);
      expect(listAt(prepared, "payload", "plan", "argv")).toEqual([expect.stringMatching(/\/echo$/u), "x"]);
    });

    test("a restart of our gateway costs it nothing: it is back, and approved as it was", async (context) => {
      await gateway.restart();
      await isBack(0, context);
      expect(await which()).toMatchObject({ ok: true, payload: { bins: { sh: expect.any(String) } } });
    });

    test("the rotation of its token ends its connection, and it comes back with a new one", async (context) => {
      const from = gateway.now;
      expect(await gateway.ask(`devices rotate ${name} --role node --now`)).toMatchObject({ ok: true, role: "node" });
      await node.line(/closed \(4001\): device removed/u);
      await isBack(from, context);
      expect(await which()).toMatchObject({ ok: true });
    });

    test("a rotation with an overlap has it connect again in a calm moment; it goes on with the new token alone", async () => {
      await node[Symbol.asyncDispose]();
      await connect("");
      const from = gateway.now;
      expect(await gateway.ask(`devices rotate ${name} --role node --overlap 1h`)).toMatchObject({ state: "pending" });
      if (endsByItself) {
        await node.ended;
        await connect("");
      } else await gateway.nodeCameIn(from);
      expect(await which()).toMatchObject({ ok: true });
      await node[Symbol.asyncDispose]();
      await connect("");
      expect(await gateway.ask("call device.token.progress")).toMatchObject({
        result: { rotations: [{ state: "confirmed", oldIsValid: false }] },
      });
      await node[Symbol.asyncDispose]();
      await connect();
    });

    test("with nothing but its device token it is let in, until that token is rotated", async () => {
      await node[Symbol.asyncDispose]();
      await connect("");
      expect(await which()).toMatchObject({ ok: true });
      await gateway.ask(`devices rotate ${name} --role node --now`);
      await node.line(/closed \(4001\): device removed/u);
      if (endsByItself) {
        await node.ended;
        start("");
      }
      await node.line(/unauthorized: device token mismatch/u);
      await node[Symbol.asyncDispose]();
      await connect();
    });

    test("the revocation of its role locks it out, also with the shared token, until a person approves it again", async () => {
      const from = gateway.now;
      expect(await gateway.ask(`devices revoke ${name} --role node`)).toMatchObject({ ok: true, role: "node" });
      await node.line(/closed \(4001\): device removed/u);
      if (endsByItself) {
        await node.ended;
        start();
      }
      const refused = await node.line(/device is asking for a role it is not approved for \(requestId: \S+\)/u);
      if (!endsByItself) await node.line(/reconnect paused/u);
      await node[Symbol.asyncDispose]();
      expect(await gateway.ask("nodes list")).toMatchObject({ nodes: [{ connected: false }] });
      await gateway.ask(`devices approve ${requestIdIn(refused)}`);
      start();
      await gateway.nodeCameIn(from);
      await gateway.approveSurfaces();
      expect(await which()).toMatchObject({ ok: true });
    });

    test("its removal ends it for good: nothing of it is left but what it asks anew", async () => {
      await gateway.ask(`devices remove ${name}`);
      await node.line(/closed \(4001\): device removed/u);
      if (endsByItself) {
        await node.ended;
        start();
      }
      await node.line(/pairing required: device is not approved yet/u);
      const list = await gateway.ask("devices list");
      expect(listAt(list, "paired")).toEqual([]);
      expect(at(listAt(list, "pending")[0], "displayName")).toBe(name);
    });
  });
});

async function nodeIdOf(gateway: OurGateway): Promise<string> {
  return textAt(listAt(await gateway.ask("nodes list"), "nodes")[0], "nodeId");
}

function requestIdIn(line: string): string {
  return /requestId: ([^)\s]+)/u.exec(line)?.[1] ?? "";
}
