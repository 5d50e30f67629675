-- Removes everything of a family, and returns how many were live.
local function drop_family(family)
  local dropped, live = {}, 0
  for _, token in ipairs(everything()) do
    if token.family == family then
      dropped[#dropped + 1] = token.digest
      if token.live then live = live + 1 end
    end
  end
  drop(dropped)
  return live
end
