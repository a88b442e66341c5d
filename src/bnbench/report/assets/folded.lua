-- Renders a block of class `folded`: collapsed in HTML, in small type in print.
function Div(block)
  if not block.classes:includes("folded") then return nil end
  if FORMAT:match("html") then
    local summary = "<details><summary>" .. block.attributes.summary .. "</summary>"
    return {pandoc.RawBlock("html", summary), pandoc.Div(block.content), pandoc.RawBlock("html", "</details>")}
  end
  return {pandoc.RawBlock("typst", "#folded["), pandoc.Div(block.content), pandoc.RawBlock("typst", "]")}
end
