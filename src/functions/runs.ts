import { app, type HttpRequest } from "@azure/functions";
import { z } from "zod";
import { answering, body, callerOf, json, Problem, paging } from "../api/responses.ts";
import { engine } from "../composition.ts";
import { Queries } from "../engine/queries.ts";
import type { Trigger } from "../engine/stores/runs.ts";

const queries = new Queries(engine);

const startSchema = z.union([
  z.strictObject({ cycle: z.string().min(1) }),
  z.strictObject({ connector: z.string().min(1), profile: z.string().min(1) }),
]);

/** The command line and the local platform say who they are; everybody else is http. */
function triggerOf(request: HttpRequest): Trigger {
  const named = request.headers.get("x-vestibule-trigger");
  return named === "cli" || named === "start" ? named : "http";
}

app.http("startRun", {
  methods: ["POST"],
  authLevel: "function",
  route: "runs",
  handler: answering(async (request) => {
    const wanted = await body(request, startSchema);
    const trigger = triggerOf(request);
    const run =
      "cycle" in wanted
        ? await engine.startCycle(wanted.cycle, trigger, callerOf(request))
        : await engine.startProfile(wanted.connector, wanted.profile, trigger, callerOf(request));
    return json(await queries.run(run.id), 202, { location: `/api/runs/${run.id}` });
  }),
});

app.http("listRuns", {
  methods: ["GET"],
  authLevel: "function",
  route: "runs",
  handler: answering(async (request) => {
    const { limit, continuation } = paging(request);
    const connector = request.query.get("connector");
    const status = request.query.get("status");
    const filter = { ...(connector === null ? {} : { connector }), ...(status === null ? {} : { status }) };
    return json(await queries.runs(filter, limit, continuation));
  }),
});

app.http("getRun", {
  methods: ["GET"],
  authLevel: "function",
  route: "runs/{id}",
  handler: answering(async (request) => {
    const run = await queries.run(request.params.id ?? "");
    if (run === null) throw new Problem(404, "not-found", `There is no run ${request.params.id}.`);
    return json(run);
  }),
});

app.http("stopRun", {
  methods: ["POST"],
  authLevel: "function",
  route: "runs/{id}/stop",
  handler: answering(async (request) => {
    const run = await engine.protocol.requestStop(request.params.id ?? "");
    if (run === undefined) throw new Problem(404, "not-found", `There is no run ${request.params.id}.`);
    if (run.endedAt !== null) throw new Problem(409, "run-has-ended", `The run has ended: ${run.status}.`);
    return json(await queries.run(run.id), 202);
  }),
});
