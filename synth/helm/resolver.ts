import type { IResolver, ResolutionContext } from "cdk8s";
import { Expression } from "./expression.ts";

/**
 * Turns each expression that is the whole value of a field into its token while cdk8s makes plain JSON of an object.
 * cdk8s refuses class instances in its output, and would drop them from typed constructs.
 */
export class ExpressionResolver implements IResolver {
  resolve(context: ResolutionContext): void {
    if (context.value instanceof Expression) context.replaceValue(context.value.toToken());
  }
}
