/** The first seconds of the real gateway, in which it listens and lets nobody in: 1013, `startup-sidecars`. */
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { systemCode } from "../../src/errors.ts";
import { type Closed, type Message, RawClient, textAt } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";
import { everyScope } from "../support/world.ts";
import { approveNode, asksTwice, askNode, startOurNode, withToken } from "./node-at-product.ts";
import { ProductGateway, productToken } from "./product.ts";
import { interopVersions } from "./versions.ts";

/** What a client met that was there while the gateway started. */
interface Met {
  readonly answer: Message;
  readonly closed: Closed;
}

/** What 2026.9.6 answers until its sidecars run. */
const refusal = {
  answer: {
    ok: false,
    error: {
      code: "UNAVAILABLE",
      retryable: true,
      retryAfterMs: expect.any(Number),
      details: { reason: "startup-sidecars" },
    },
  },
  closed: { code: 1013, reason: "gateway starting" },
};

const maxStarts = 4;

describe.each(interopVersions)("%s", (version) => {
  const hasPhase = version !== "2026.3.8";

  describe("our node and our CLI -> its gateway while it starts", () => {
    test("both are refused with 1013, startup-sidecars, ask again, and are in", async ({ annotate }) => {
      await using gateway = await ProductGateway.start({ version });
      using home = new CliHome();
      const { met, restarted } = await startUntilMet(gateway, hasPhase);
      expect(met).toMatchObject(hasPhase ? refusal : { answer: { ok: true } });
      if (!hasPhase) await annotate(`${version} lets everybody in as soon as it listens: there is nothing to wait for`);
      // The product itself said so, and our programs come into the middle of it.
      await using node = startOurNode(home, gateway.port);
      const listed = await home.run(`nodes list --json --verbose --timeout 2m --port ${gateway.port}`, {
        env: withToken,
      });
      expect(listed).toMatchObject({ code: 0, json: { ok: true } });
      expect(listed.stderr.includes(" info gateway starting retryAfterMs=")).toBe(hasPhase);

      await restarted;
      const { deviceId } = asksTwice(version) ? await approveNode(gateway, node) : await node.event("ready");
      const refusals = node.events.items.filter(({ event }) => event === "disconnected");
      expect(refusals.some(({ code }) => code === "starting")).toBe(hasPhase);
      const seen = await askNode(gateway, deviceId, "system.which", { bins: ["sh"] });
      expect(textAt(seen, "bins", "sh")).toMatch(/\/sh$/u);
    });
  });
});

/**
 * Restarts the gateway until somebody who knocks all the time meets its phase: who knocked just before it listened may be kept waiting
 * until that is over. `restarted` is the end of the last start.
 */
async function startUntilMet(
  gateway: ProductGateway,
  hasPhase: boolean,
): Promise<{ readonly met: Met; readonly restarted: Promise<void> }> {
  for (let attempt = 1; ; attempt++) {
    await gateway.process.stop();
    const restarted = gateway.restart();
    restarted.catch(() => {}); // also told to whoever waits for it
    const met = await knock(gateway.url);
    if (!hasPhase || met.answer.ok === false || attempt === maxStarts) return { met, restarted };
    await restarted;
  }
}

/** The first answer to a connect that comes at all, asked for until there is one, and how that connection ended. */
async function knock(url: string): Promise<Met> {
  for (;;) {
    try {
      await using client = await RawClient.open(url);
      const answer = await client.connect({
        clientId: "gateway-client",
        mode: "backend",
        role: "operator",
        scopes: everyScope,
        auth: { token: productToken },
      });
      if (answer.ok === true) client.socket.close();
      return { answer, closed: await client.closed };
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      await delay(5); // nothing tells that it begins to listen
    }
  }
}
