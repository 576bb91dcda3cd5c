/** The event `device.token.rotated`: a new token, told to nobody but its own device and role. Apart from the method table, which clients do not load. */
import * as v from "valibot";

const text = v.pipe(v.string(), v.nonEmpty("must not be empty"));

export const tokenRotated = v.object({ role: text, token: text, scopes: v.array(v.string()), rotatedAtMs: v.number() });
export type TokenRotated = v.InferOutput<typeof tokenRotated>;
