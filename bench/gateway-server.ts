/** Our gateway, on the database file it is told. */
import * as v from "valibot";
import { createGateway } from "../src/gateway/index.ts";
import { tokenKey } from "./approved-devices.ts";
import { serve } from "./server-process.ts";

const task = v.object({ store: v.string() });

serve(async (message) => {
  const { store } = v.parse(task, message);
  const gateway = await createGateway({ store, tokenKey, auth: { token: "the shared token, which nobody here uses" } });
  return { port: gateway.port };
});
