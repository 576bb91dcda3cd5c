/** Our gateway on a database file, with devices that are approved already. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { createGateway } from "../src/gateway/index.ts";
import { approvedDevices, DeviceBook } from "./device-book.ts";
import { serve } from "./server-process.ts";
