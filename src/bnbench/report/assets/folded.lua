-- A block of class `folded`: in HTML to be opened by a click, in print as it is, in small type.
function Div(block)
  if not block.classes:includes("folded") then return nil end
  if FORMAT:match("html") then
    local summary = "<details><summary>" .. block.attributes.summary .. "</summary>"
    return {pandoc.RawBlock("html", summary), pandoc.Div(block.content), pandoc.RawBlock("html", "</details>")}
  end
  return {pandoc.RawBlock("typst", "#folded["), pandoc.Div(block.content), pandoc.RawBlock("typst", "]")}
end
