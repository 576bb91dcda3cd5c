/** Gateways that end an old token at once and tell nobody the new one: what a rotation costs there is said before it is made. */
import type { GatewaySession } from "../client/gateway-session.ts";
import { OpenClawError } from "../errors.ts";
import type { Context } from "./context.ts";
import { askYesNo } from "./prompt.ts";
import type { RotationOrder, Target } from "./rotation.ts";

/** What a person has to know before devices are cut off, asked once however often the command has to try. */
export class CutOffAgreement {
  readonly #context: Context;
  readonly #order: RotationOrder;
  #isReached: boolean;

  constructor(context: Context, order: RotationOrder) {
    this.#context = context;
    this.#order = order;
    this.#isReached = order.isAgreed;
  }

  /** `others` are what is to be rotated besides the caller's own. Fails with `usage` when nobody agrees, and with `incompatible` when an overlap was asked for that this gateway has not. */
  async reach({ hello }: GatewaySession, others: readonly Target[]): Promise<void> {
    const { version } = hello.server;
    if (this.#order.mustOverlap) {
      throw new OpenClawError("incompatible", `the gateway (version ${version}) ends an old token at once`, {
        hint: "without --overlap and --critical it can be rotated, and its device is cut off",
        details: { gatewayVersion: version },
      });
    }
    if (this.#isReached || others.length === 0) return;
    const consequence =
      `this gateway (version ${version}) ends an old token at once and cannot tell the device its new one: ` +
      `${namesOf(others)} will be cut off, and must come with the gateway's own token or be approved again`;
    await this.#agree(consequence, others);
  }

  /** Devices that are not connected, and would have no time to take their new tokens. */
  async reachForAway(away: readonly Target[]): Promise<void> {
    if (this.#isReached || away.length === 0) return;
    await this.#agree(
      `${namesOf(away)} is not connected and gets no time to take its new token: it will be cut off, and must come with the gateway's own token or be approved again`,
      away,
    );
  }

  async #agree(consequence: string, others: readonly Target[]): Promise<void> {
    if (!this.#context.canAsk) {
      throw new OpenClawError("usage", consequence, {
        hint: "add --yes if that is meant",
        details: { devices: others.map(({ device, role }) => ({ deviceId: device.deviceId, role })) },
      });
    }
    this.#context.output.warn(consequence);
    this.#isReached = await askYesNo(this.#context, "Rotate all the same?");
    if (!this.#isReached) throw new OpenClawError("usage", "nothing was rotated");
  }
}

function namesOf(targets: readonly Target[]): string {
  return targets
    .map(({ device, role }) => `${device.operatorLabel ?? device.displayName ?? device.deviceId} (${role})`)
    .join(", ");
}
