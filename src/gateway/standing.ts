/** Whether the rules of this moment would still let in who came in under others: what they say of its connection is looked up here. */
import { type Evidence, lostBecause } from "../pairing/still-admitted.ts";
import type { GatewayPolicy } from "./options.ts";
import { isAllowedOrigin } from "./arrival/peer.ts";
import type { ArrivedBy } from "./session.ts";
import { stillVouches } from "./arrival/vouching.ts";

/** Why it has to end, or undefined when it may go on. `arrivedBy` may be left out where no rule asks about it. */
export function lostUnder(
  { auth, pairing, trust, allowedOrigins }: GatewayPolicy,
  who: Omit<Evidence, "isFromTailnet">,
  arrivedBy: ArrivedBy | undefined,
): string | undefined {
  const { user } = who;
  const evidence = { ...who, isFromTailnet: arrivedBy?.isFromTailnet === true };
  return lostBecause(auth, pairing, evidence, {
    isProxyTrusted: user !== undefined && arrivedBy !== undefined && stillVouches(trust, arrivedBy, user),
    isOriginAllowed: arrivedBy?.origin === undefined || isAllowedOrigin(arrivedBy.origin, arrivedBy, allowedOrigins),
  });
}
