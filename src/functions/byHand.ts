import { app, type HttpRequest } from "@azure/functions";
import type { z } from "zod";
import { authLevel } from "../api/access.ts";
import { acceptSchema, disconnectSchema, joinSchema, whySchema } from "../api/requests.ts";
import { answering, body, callerOf, json, param, triggerOf } from "../api/responses.ts";
import { engine } from "../composition.ts";
import { ByHand, type Caller, type Wanted } from "../engine/byHand.ts";
import { Queries } from "../engine/queries.ts";

const byHand = new ByHand(engine);
const queries = new Queries(engine);

function caller(request: HttpRequest, why: string | null): Caller {
  const trigger = triggerOf(request);
  // A function key says nothing of who holds it; then at least the way in is known.
  return { who: callerOf(request) ?? trigger, trigger, why };
}

function objectCall<Body extends { readonly why: string | null }>(
  name: string,
  verb: Wanted["kind"],
  schema: z.ZodType<Body>,
  wanted: (given: Body) => Wanted,
): void {
  app.http(name, {
    methods: ["POST"],
    authLevel,
    route: `connectors/{name}/objects/{anchor}/${verb}`,
    handler: answering(async (request) => {
      const given = await body(request, schema);
      const run = await byHand.order(
        param(request, "name"),
        param(request, "anchor"),
        wanted(given),
        caller(request, given.why),
      );
      return json(await queries.run(run.id), 202, { location: `/api/runs/${run.id}` });
    }),
  });
}

objectCall("joinObject", "join", joinSchema, ({ metaverseId }) => ({ kind: "join", metaverseId }));
objectCall("disconnectObject", "disconnect", disconnectSchema, ({ as }) => ({ kind: "disconnect", as }));
objectCall("synchronizeObject", "synchronize", whySchema, () => ({ kind: "synchronize" }));
objectCall("retryObject", "retry", whySchema, () => ({ kind: "retry" }));

app.http("acceptImport", {
  methods: ["POST"],
  authLevel,
  route: "runs/{id}/accept",
  handler: answering(async (request) => {
    const { why } = await body(request, acceptSchema);
    const run = await byHand.acceptImport(param(request, "id"), caller(request, why));
    return json(await queries.run(run.id));
  }),
});
