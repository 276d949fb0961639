// What the build of a ROCm torch writes here: it defines nothing that these headers ask for.
#pragma once
