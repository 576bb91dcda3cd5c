/** The gateway's side of a pairing code: one round of commitment, answer and reveal, and how often there may be another. */
import { type PairingCode } from "../protocol/pairing-code.ts";
import { commitmentTo, pairingCode, type SasAnswer, type SasOffer } from "../protocol/sas.ts";

/** Where a request's code stands. The nonce is the gateway's secret until a device has answered. */
export interface CodeRound {
  readonly gatewayNonce: string;
  /** The answer; the code is settled by it. */
  readonly deviceNonce?: string;
  /** How many rounds there were, with this one and those of the requests that this one has taken the place of. */
  readonly count: number;
}

/** So many rounds a request may have: each is one more guess for somebody who stands in between. */
export const maxCodeRounds = 16;

/**
 * The round that stands after a connect. Another one begins for a device that has lost its nonce. `countBefore` are the rounds of the
 * request that this one takes the place of.
 */
export function nextRound(
  round: CodeRound | undefined,
  answer: SasAnswer | undefined,
  gatewayKey: string,
  freshNonce: () => string,
  countBefore = 0,
): CodeRound {
  if (round === undefined) return { gatewayNonce: freshNonce(), count: countBefore + 1 };
  const isMeant = answer?.commitment === commitmentTo({ gatewayKey, gatewayNonce: round.gatewayNonce });
  if (!isMeant) return round;
  if (round.deviceNonce === undefined) return { ...round, deviceNonce: answer.nonce };
  if (round.deviceNonce === answer.nonce) return round;
  return { gatewayNonce: freshNonce(), count: round.count + 1 };
}

/** What the device is told: the nonce only once its own answer has settled the round. Undefined when it has to do without a code. */
export function offerOf(round: CodeRound, answer: SasAnswer | undefined, gatewayKey: string): SasOffer | undefined {
  if (round.count > maxCodeRounds) return undefined;
  const commitment = commitmentTo({ gatewayKey, gatewayNonce: round.gatewayNonce });
  if (answer?.commitment !== commitment) return { gatewayKey, commitment };
  return { gatewayKey, commitment, gatewayNonce: round.gatewayNonce };
}

/** The code of a request, once its device has answered. */
export function codeOf(
  { publicKey, round }: { readonly publicKey: string; readonly round?: CodeRound },
  gatewayKey: string,
): PairingCode | undefined {
  if (round?.deviceNonce === undefined) return undefined;
  const { gatewayNonce, deviceNonce } = round;
  return pairingCode({ deviceKey: publicKey, gatewayKey, deviceNonce, gatewayNonce });
}
