/** The device's side of pairing codes: answers what a gateway commits itself to, and checks that it kept to it. */
import { isFailure, OpenClawError } from "../errors.ts";
import { formatPairingCode, type PairingCode } from "../protocol/pairing-code.ts";
import { commitmentTo, pairingCode, readSasOffer, type SasAnswer } from "../protocol/sas.ts";
import { type Runtime, systemRuntime } from "../runtime.ts";

interface Round extends SasAnswer {
  readonly code?: PairingCode;
}

/** A round takes two connects; one more begins it anew when the gateway knows the request from before. */
const maxConnects = 4;

/** What a device knows of the code of its request. Kept for as long as the device waits: a new one costs a round. */
export class CodeAgreement {
  readonly #runtime: Runtime;
  #round: Round | undefined;

  constructor(runtime: Runtime = systemRuntime) {
    this.#runtime = runtime;
  }

  /**
   * Connects until the code is known or cannot be had. `connect` fails with what refused it; of a `pairing-required` the details have
   * `sas`, the code, where there is one. `protocol` when the gateway did not keep to its commitment.
   */
  async around<Result>(
    deviceKey: string | undefined,
    connect: (answer: SasAnswer | undefined) => Promise<Result>,
  ): Promise<Result> {
    for (let left = maxConnects; ; left--) {
      try {
        return await connect(this.#answer());
      } catch (error) {
        if (deviceKey === undefined || !isFailure(error, "pairing-required")) throw error;
        const next = this.#hear(error, deviceKey);
        if (next !== "again" || left === 1) throw withCode(error, next === "again" ? undefined : next);
      }
    }
  }

  #answer(): SasAnswer | undefined {
    if (this.#round === undefined || this.#round.code !== undefined) return undefined;
    const { commitment, nonce } = this.#round;
    return { commitment, nonce };
  }

  #hear({ details }: OpenClawError, deviceKey: string): PairingCode | "again" | undefined {
    const offer = readSasOffer(details?.["sas"]);
    if (offer === undefined) return undefined;
    const { gatewayKey, commitment, gatewayNonce } = offer;
    if (this.#round?.commitment !== commitment) {
      const nonce = Buffer.from(this.#runtime.random(32)).toString("base64url");
      this.#round = { commitment, nonce };
      return "again";
    }
    if (this.#round.code !== undefined) return this.#round.code;
    if (gatewayNonce === undefined) return undefined;
    if (commitmentTo({ gatewayKey, gatewayNonce }) !== commitment) throw brokenCommitment();
    const { nonce: deviceNonce } = this.#round;
    const code = pairingCode({ deviceKey, gatewayKey, deviceNonce, gatewayNonce });
    this.#round = { ...this.#round, code };
    return code;
  }
}

/** The refusal with the code in the place of what it was computed from. */
function withCode(error: OpenClawError, code: PairingCode | undefined): OpenClawError {
  const { sas: _offer, ...details } = error.details ?? {};
  const { hint } = error;
  return new OpenClawError(error.code, error.message, {
    hint: code === undefined ? hint : `${hint ?? "have it approved"}; its code is ${formatPairingCode(code)}`,
    fix: error.fix,
    details: code === undefined ? details : { ...details, sas: code },
    cause: error.cause,
  });
}

function brokenCommitment(): OpenClawError {
  return new OpenClawError(
    "protocol",
    "the gateway did not keep to what it had committed itself to for the pairing code",
    {
      hint: "somebody may stand between this machine and the gateway: do not approve this request",
    },
  );
}
