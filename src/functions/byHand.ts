import { app, type HttpRequest } from "@azure/functions";
import type { z } from "zod";
import { authLevel } from "../api/access.ts";
import { acceptSchema, disconnectSchema, emptySpaceSchema, joinSchema, whySchema } from "../api/requests.ts";
import { answering, body, callerOf, json, Problem, param, triggerOf } from "../api/responses.ts";
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

app.http("emptyConnectorSpace", {
  methods: ["DELETE"],
  authLevel,
  route: "connectors/{name}/space",
  handler: answering(async (request) => {
    const name = param(request, "name");
    const given = await body(request, emptySpaceSchema);
    if ((given.confirm ?? request.query.get("confirm")) !== name)
      throw new Problem(
        400,
        "bad-request",
        `This forgets every object of ${name} until its next full import. Confirm it with {"confirm": ${JSON.stringify(name)}}.`,
      );
    const why = given.why ?? request.query.get("why");
    return json(await byHand.emptySpace(name, caller(request, why)));
  }),
});

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
